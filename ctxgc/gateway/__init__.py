"""The gateway: a server between an agent and its model's API, on this machine alone.

    agent ──request──▶ http ──body──▶ upstream       evicted bodies leave the request as tombstones,
          ◀───reply───       ◀─bytes─                everything else passes byte for byte

    http      requests in and out: routes, the guard against pages of a browser, the way to the upstreams
    identity  the session of a request, and the branch of the session
    body      the bytes of a request: what they say, and tombstones spliced into them
    editing   the decision on each request, and `window.sync` with the daemon
    billing   the bill of a reply, read on the side while the reply streams past

The gateway owns no state that matters: segments, plans and journals are the daemon's. After any failure here or there,
the agent's own bytes go upstream (I13), and the failure is counted.
"""
