"""The gateway: between an agent and its model's API, on this machine alone.

    agent ──request──▶ server ──bytes──▶ upstream      what is evicted in the session leaves the request as tombstones,
          ◀───reply───        ◀──bytes──               everything else passes byte for byte

    routes    which upstream, and which format, a request belongs to
    identity  whose request it is: the agent's own session, and which of its threads
    editing   the bytes to send: tombstones in force, or the original and the reason why
    sync      what the daemon is told, and what it answers
    usage     what the reply says it cost, read on the side
    recalling who has the recall tool, and what its calls bring; recall_* and sieve: how each API says it

The gateway owns no state that matters: segments, plans and journals are the daemon's. Whatever fails here or there, the
agent's own bytes go upstream (I13), and it is counted.
"""
