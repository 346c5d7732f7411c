"""Redaction: no credential is stored, nothing else is touched, and a skeleton stays JSON.

Every secret here is made up, and put together at run time so that no scanner of this repository trips over it.
"""

import base64
import json
import random
import shlex
import time
import uuid

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ctxgc.adapters.builder import IdAllocator, sanitize_call_id
from ctxgc.core.redaction.redact import find_secrets, redact, redact_json_value, redact_text
from ctxgc.core.redaction.redact_segment import redact_segment
from ctxgc.core.redaction.secret_values import looks_random
from ctxgc.core.segment import Access, Kind, PathUse, Piece, Role, Segment, conflict_id, tool_call_id
from tests.core.made_contexts import COMMANDS
from tests.core.made_secrets import ALNUM, Maker, issued, longest_part, named


def noise(size, seed=1, alphabet=ALNUM):
    return Maker(seed).text(size, alphabet)


ISSUED = issued(7)
CONTEXTS = [
    "{}",
    "export KEY={}\n",
    '"{}"',
    "({})",
    "a: {}, b",
    "https://host/{}?x=1",
    "{}\n\nand so on",
    "--token={} ",
]


SEEDS = st.integers(0, 10**6)


@given(seed=SEEDS)
@settings(max_examples=10)
def test_a_credential_of_an_issuers_form_is_gone_wherever_it_stands(seed):
    kept = []
    for kind, secret in issued(seed).items():
        if kind.startswith("bitcoin") and not looks_random(secret.encode()):
            continue
        for context in CONTEXTS:
            clean, count = redact(context.format(secret).encode())
            if not count or longest_part(secret) in clean.decode() or "«redacted:" not in clean.decode():
                kept.append((kind, context, clean))

    assert kept == []


@given(seed=SEEDS)
@settings(max_examples=25)
def test_what_the_text_before_it_names_as_a_secret_is_gone(seed):
    kept = []
    for way, (context, secret) in named(seed).items():
        # One made-up key in a thousand has the runs of words or no digit, and no rule can tell such a key from a name.
        is_random = looks_random(secret.encode()) and any(map(str.isdigit, secret))
        if way not in ("words", "mnemonic", "words of dice") and len(secret) >= 16 and not is_random:
            continue
        clean, count = redact(context.format(secret).encode())
        if not count or longest_part(secret) in clean.decode():
            kept.append((way, clean))

    assert kept == []


@pytest.mark.parametrize("kind", ["secret", "password", "url_password"])
def test_no_rule_takes_a_redaction_for_a_secret(kind):
    """Each such redaction would be redacted again, without end."""
    redaction = f"«redacted:{kind}»".encode()
    contexts = [context.format(redaction.decode()).encode() for context, _ in named(7).values()]

    secrets = [context[span.start : span.end] for context in contexts for span in find_secrets(context)]

    assert not [part for part in secrets if part in redaction]


def test_an_issuers_signature_proves_a_key_of_letters_alone():
    key = "glpat-" + "pyCtdrzkrN" + "zzLwlcNuyT"

    assert redact_text(f"the key {key} here") == "the key «redacted:gitlab_token» here"


@pytest.mark.parametrize("lines", ["whole", "numbered", "cut", "quoted"])
def test_a_private_key_is_gone_however_a_tool_shows_its_lines(lines):
    key = Maker(3).pem()
    shown = {
        "whole": key,
        "numbered": "\n".join("    12→" + row for row in key.splitlines()),
        "cut": key.rsplit("\n", 2)[0],
        "quoted": key.replace("\n", '\\n" +\n  "'),
    }[lines]

    clean, _ = redact(shown.encode())

    assert longest_part(key) not in clean.decode()


@pytest.mark.parametrize(
    "text",
    [
        'password = "{}"',
        "DB_PASSWORD={}\n",
        "export API_KEY={}",
        'const apiKey: string = "{}";',
        '{{"client_secret": "{}"}}',
        '"{{\\"api_key\\": \\"{}\\"}}"',
        "aws_secret_access_key = {}",
        "config['token'] = '{}'",
        "secret_key: {}",
        "SECRET => `{}`",
        "curl -H 'Authorization: Bearer {}' host",
        "Authorization: Basic {}",
    ],
)
def test_a_random_value_given_to_a_secrets_name_is_redacted_and_its_surroundings_stay(text):
    clean, count = redact(text.format(noise(32)).encode())

    before, after = text.format("|").split("|")
    assert count == 1
    assert clean.decode().startswith(before)
    assert clean.decode().endswith(after)
    assert noise(32) not in clean.decode()


@pytest.mark.parametrize("password", ["hunter22", "p:w", "s3cret%40x"])
def test_a_password_in_a_url_is_redacted_and_the_url_stays_readable(password):
    clean, _ = redact(f"postgres://app:{password}@db.example:5432/x".encode())

    assert clean.decode() == "postgres://app:«redacted:url_password»@db.example:5432/x"


@pytest.mark.parametrize(
    "text",
    [
        "commit " + noise(40, alphabet="0123456789abcdef"),
        f"id: {uuid.UUID(int=7**40)} digest sha256:{noise(64, alphabet='0123456789abcdef')}",
        "data:image/png;base64," + base64.b64encode(random.Random(3).randbytes(4000)).decode(),
        "token = get_token()",
        "token = get_token_from_v2_config_or_default(x, y1)",
        "self.token = request.headers.get('x-token')",
        "token: Token2022ProgramAccount",
        "password = os.environ['DB_PASSWORD_2']",
        'password = "your-password-here-123"',
        'api_key = "${OPENAI_API_KEY_V2}"',
        "api_key=<YOUR_API_KEY_1234567890>",
        '"max_tokens": 4096, "input_tokens": 123456789012345678',
        'tokenizer = "cl100k_base_x1y2z3"; tokens = "a1b2c3d4e5f6"',
        'token_endpoint = "https://login.example/oauth2/v2.0/token"',
        'secret = "0123456789abcdef0123456789"',
        "https://user:password@host/ and https://u:${PASS}@host and http://host:8080/a@b and http://h:80?m=a@b.c",
        "docker://alpine:3.18@sha256:" + noise(64, alphabet="0123456789abcdef"),
        "spinner class sk-cube-grid-animation-delayed-long and task-" + noise(24),
        "basic configuration-of-the-service and bearer authentication-required-here",
        "-----BEGIN CERTIFICATE-----\n" + noise(64) + "\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----\n" + noise(64) + "\n-----END PUBLIC KEY-----",
        "if data.startswith('-----BEGIN RSA PRIVATE" + " KEY-----'): raise ValueError",
        'HEAD = "-----BEGIN PRIVATE' + ' KEY-----"\nTAIL = "-----END PRIVATE' + ' KEY-----"\n',
        'is_key = has("-----BEGIN PRIVATE'
        + f' KEY-----") # some digest, far enough behind: {noise(64)}\nfind("-----END PRIVATE'
        + ' KEY-----")\n',
        "cache-key-" + noise(32, alphabet="0123456789abcdef"),
        "def test_" + noise(32, alphabet="0123456789abcdef"),
        f"sdk-{uuid.UUID(int=7**40 | 4 << 76)}.zip",
        "usage: docker login [-u USER] [-p PASSWORD]; redis-cli -p 6379; mysql -p db; ps -a; curl -u USER:PASSWORD",
        "the password is required, the key is None, the token is expired and password reset works",
        "if password and user: token = key; password(s) are hashed with sha256 or bcrypt",
        "PASSWORD=$(cat secret.txt) and PASSWORD=`cat x` and DB_PASSWORD=${DB_PASS}",
        "git@github.com:a/b.git, npm:string-width@4.2.0, image:v1.2@sha256, user@example.com: hello",
        f'"requestId":"00000-{uuid.UUID(int=7**40 | 4 << 76)}"',
        "| token | count |\n|---|---|\n| password | reset |",
        "openssl enc -k $PASS -in f; zip -P ${PW} x; mkdir -p build/lib; tar -p x; the password is required",
        '{"note": "no password", "size": 1, "text": "configuration"}',
        "see sk_live_... and ghp_xxxx and AKIA* and xoxb-...",
    ],
)
def test_what_only_resembles_a_secret_is_left_as_it_is(text):
    data = text.encode()

    clean, count = redact(data)

    assert clean is data
    assert count == 0


pieces = st.one_of(
    st.sampled_from(sorted(ISSUED.values())),
    st.sampled_from(['password="', '"', "token: ", " ", "\n", "://u:", "@h", "(", "=", "-", "_", "Bearer ", "\\", "«"]),
    st.builds(noise, st.integers(1, 40), st.integers(0, 99)),
    st.text(max_size=8),
)


@given(st.lists(pieces, max_size=12).map(lambda parts: "".join(parts).encode("utf-8", "surrogatepass")))
def test_redacting_twice_is_redacting_once_and_the_same_each_time(data):
    clean, count = redact(data)

    assert redact(clean) == (clean, 0)
    assert redact(data) == (clean, count)
    assert (count == 0) == (clean is data)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.lists(pieces, max_size=4).map("".join)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["password", "api_key", "command", "x"]), inner, max_size=3),
    ),
    max_leaves=6,
)


@given(st.fixed_dictionaries({"call_id": st.just("c1"), "input": json_values, "name": st.just("Bash")}))
def test_a_skeleton_stays_canonical_json_of_the_same_shape(value):
    segment = a_segment(skeleton=canonical(value))

    clean, count = redact_segment(segment)

    again = json.loads(clean.skeleton)
    assert canonical(again) == clean.skeleton
    assert shape(again) == shape(value)
    assert count or clean is segment


def test_every_text_of_a_segment_is_redacted_and_each_secret_is_counted_once():
    secret = ISSUED["github"]
    segment = a_segment(
        skeleton=canonical({"input": {"command": f"echo {secret}", "env": {"API_KEY": noise(24)}}}),
        body=(Piece("result", secret.encode()), Piece("input.text", b"clean")),
        command=f"echo {secret}",
        edit_sources=(f"old {secret}",),
    )

    clean, count = redact_segment(segment)

    assert count == 3
    assert secret not in repr(clean)
    assert noise(24) not in repr(clean)
    assert clean.body[1] is segment.body[1]
    assert json.loads(clean.skeleton)["input"]["command"] == "echo «redacted:github_token»"


@pytest.mark.parametrize(
    "value",
    [
        ["mysql", "-phunter2X"],
        ["sshpass", "-p", "hunter2X", "ssh", "a@b"],
        ["docker", "login", "-u", "b", "-p", "hunter2X"],
        {"element": "Password field", "text": "hunter2X"},
    ],
)
def test_a_value_of_json_is_redacted_as_the_same_words_of_a_line_are(value):
    clean, count = redact_json_value(value)

    assert count == 1
    assert "hunter2X" not in json.dumps(clean)
    assert shape(clean) == shape(value)
    assert len(clean) == len(value)


@pytest.mark.parametrize("command", COMMANDS)
@given(seed=SEEDS)
@settings(max_examples=5)
def test_a_command_in_any_form_of_a_call_is_redacted_as_its_line_is(command, seed):
    secret = named(seed)[command][1]
    words = shlex.split(command.format(secret))
    calls = [
        words,
        ["bash", "-lc", command.format(secret)],
        {"command": words[0], "args": words[1:]},
        {f"ran {command.format(secret)}": True},
        json.dumps(words),
        json.dumps({"argv": words}, indent=2),
        repr(words),
        f"input.{command.format(secret)}",
        " \\\n  ".join(words),
    ]

    clean = [redact_json_value({"input": call})[0]["input"] for call in calls]

    assert [call for call in clean if secret in str(call)] == []
    assert [shape(call) for call in clean[:3]] == [shape(call) for call in calls[:3]]


def test_a_key_whose_head_was_cut_off_is_gone():
    rows = Maker(3).pem().partition("\n")[2]

    assert longest_part(rows) not in redact_text(rows)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_path_that_is_a_word_of_a_command_does_not_keep_the_commands_secret(command):
    secret = named(5)[command][1]
    segment = a_segment(command=command.format(secret), paths=(PathUse(f"/srv/{secret}", Access.READ),))

    assert secret not in repr(redact_segment(segment)[0])


def test_a_clean_segment_comes_back_as_the_same_object():
    segment = a_segment(skeleton=b'{"input":{"command":"ls"}}', body=(Piece("result", b"a\x00b \xed\xa0\x80"),))

    assert redact_segment(segment) == (segment, 0)
    assert redact_segment(segment)[0] is segment


@pytest.mark.parametrize(
    "unit",
    [
        "token=",
        "eyJ-",
        "-----BEGIN PRIVATE" + " KEY-----",
        "-----END PRIVATE" + " KEY-----",
        "zip -",
        "redis-cli ",
        "redis-cli -a ",
        "docker login ",
        "password ",
        "password is ",
        "a:b@",
        "a@",
        "|",
        "echo a | docker ",
        "login ",
        ":*:",
        "432:a:",
        "auth ",
        "hook",
        'kind: secret\ndata:\n a: "b"\n',
        "$ANSIBLE_VAULT;1.1;AES256\n 0123456789abcdef",
        "-b f ",
        ".eyJ",
        "-----BEGIN RSA PRIVATE" + " KEY-----",
        "sk-",
        "://a:b",
        'password="',
        "a",
        "-",
        "_a1",
    ],
)
def test_no_repetition_makes_redaction_slow(unit):
    data = (unit * (2**17 // len(unit))).encode() + b"("

    started = time.process_time()
    redact(data)

    # Linear work takes some milliseconds here; anything quadratic takes many seconds.
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "value", [noise(20), noise(32, alphabet="0123456789abcdef"), str(uuid.UUID(int=5**50)), "Tr0ub4dor&3"]
)
def test_generated_values_look_random(value):
    assert looks_random(value.encode())


def a_segment(**fields):
    return Segment(id="s", kind=Kind.TOOL_CALL, role=Role.ASSISTANT, place=1, born_turn=1, **fields)


def canonical(value):
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def shape(value):
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items()}
    # A number that is a password becomes a redaction.
    return list(map(shape, value)) if isinstance(value, list) else str if type(value) is int else type(value)


def test_a_call_id_that_is_a_credential_names_its_segments_by_the_redaction_at_every_use():
    names = IdAllocator()

    ids = [
        names.allocate_id_for_call(ISSUED["github"]),
        names.allocate_id_for_call(ISSUED["github"]),
        names.newest_id_of_call(ISSUED["github"]),
    ]

    assert ids == ["«redacted:github_token»", "«redacted:github_token»~2", "«redacted:github_token»~2"]


call_ids = st.lists(pieces | st.sampled_from(["secret:", "token=", "api_key=abc", "password="]), max_size=9).map(
    "".join
)


@given(call_ids, st.integers(1, 10**12), st.binary(min_size=16, max_size=16))
@example("secret:secret:secret:", 11, b"")
@example("api_key=abc", 98765, b"")
@example("secret:" * 200, 2, b"")
def test_an_id_made_of_any_call_id_is_its_own_redaction_whatever_ordinal_it_has(call_id, ordinal, stamp):
    base = sanitize_call_id(call_id)

    assert sanitize_call_id(base) == base
    for made in (base, tool_call_id(base, ordinal), conflict_id(tool_call_id(base, ordinal), stamp)):
        assert redact_text(made) == made
