"""Credentials of every kind, made up from a seed and put together at run time: no scanner trips over this file."""

from __future__ import annotations

import base64
import random

from hypothesis import strategies as st

from tests.core.made_contexts import written

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ALNUM = LETTERS + "0123456789"
BASE58 = "".join(sign for sign in ALNUM if sign not in "0OIl")


class Maker:
    """Random text of a seed."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def text(self, size: int, alphabet: str = ALNUM) -> str:
        return "".join(self._chance.choices(alphabet, k=size))

    def hex(self, size: int) -> str:
        return self.text(size, "0123456789abcdef")

    def upper(self, size: int) -> str:
        return self.text(size, LETTERS[:26] + "0123456789")

    def b64(self, size: int) -> str:
        return base64.b64encode(self._chance.randbytes(size)).decode()

    def uuid(self) -> str:
        return f"{self.hex(8)}-{self.hex(4)}-4{self.hex(3)}-a{self.hex(3)}-{self.hex(12)}"

    def pem(self, name: str = "RSA PRIVATE") -> str:
        rows = "\n".join(self.b64(48) for _ in range(6))
        return f"-----BEGIN {name} KEY-----\n{rows}\n-----END {name} KEY-----"

    def password(self) -> str:
        return "hunter" + self.text(2, "23456789") + self.text(3, "XYZ") + "!"


def issued(seed: int) -> dict[str, str]:
    """A credential of each issuer's kind: no text around it is needed to know it."""
    make = Maker(seed)
    text, hexes, upper = make.text, make.hex, make.upper
    return {
        "groq": "gs" + "k_" + text(52),
        "xai": "xa" + "i-" + text(80),
        "perplexity": "pp" + "lx-" + text(48),
        "replicate": "r" + "8_" + text(37),
        "elevenlabs": "s" + "k_" + hexes(48),
        "dashscope": f"s{'k-'}ws-{text(20)}.{text(20)}.{text(20)}",
        "zhipu": hexes(32) + "." + text(16),
        "pypi": "py" + "pi-AgEIcHlwaS5vcmc" + text(120),
        "sendgrid": "S" + "G." + text(22) + "." + text(43),
        "twilio": "S" + "K" + hexes(32),
        "digitalocean": "do" + "p_v1_" + hexes(64),
        "vault": "hv" + "s." + text(90),
        "age": "AGE-SEC" + "RET-KEY-1" + upper(58),
        "telegram": text(10, "123456789") + ":A" + "A" + text(33),
        "docker": "dckr" + "_pat_" + text(27),
        "linear": "lin" + "_api_" + text(40),
        "stripe hook": "whs" + "ec_" + text(32),
        "mailgun": "ke" + "y-" + hexes(32),
        "square": "sq0" + "atp-" + text(22),
        "discord": "M" + text(23) + "." + text(6) + "." + text(27),
        "openai": "s" + "k-proj-" + text(48),
        "anthropic": "s" + "k-ant-api03-" + text(93),
        "langfuse": "s" + "k-lf-" + make.uuid(),
        "vercel blob": "vercel" + "_blob_rw_" + text(16) + "_" + text(30),
        "apify": "apify" + "_api_" + text(36),
        "daytona": "dt" + "n_" + hexes(64),
        "openrouter": "s" + "k-or-v1-" + hexes(64),
        "github": "gh" + "p_" + text(36),
        "gitlab": "glp" + "at-" + text(20),
        "aws": "AK" + "IA" + upper(16),
        "google": "AI" + "za" + text(35),
        "google oauth": "ya2" + "9." + text(60),
        "npm": "np" + "m_" + text(36),
        "huggingface": "h" + "f_" + text(34),
        "slack": f"xo{'xb'}-{text(12, '123456789')}-{text(12, '123456789')}-{text(24)}",
        "slack app": f"xa{'pp'}-1-A0{upper(9)}-{text(13, '123456789')}-{hexes(64)}",
        "stripe": "s" + "k_live_" + text(24),
        "shopify": "shp" + "at_" + hexes(32),
        "postman": "PMA" + "K-" + hexes(24) + "-" + hexes(34),
        "newrelic": "NRA" + "K-" + upper(27),
        "databricks": "da" + "pi" + hexes(32),
        "notion": "nt" + "n_" + text(46),
        "airtable": "pa" + "t" + text(14) + "." + hexes(64),
        "mailchimp": hexes(32) + "-us" + "12",
        "doppler": "dp." + "pt." + text(43),
        "jwt": "ey" + "J" + text(30) + ".ey" + "J" + text(60) + "." + text(43),
        "grafana": "gl" + "sa_" + text(32) + "_" + hexes(8),
        "tailscale": "tsk" + "ey-auth-" + text(12) + "-" + text(30),
        "nvidia": "nv" + "api-" + text(64),
        "azure": text(3) + "8" + "Q~" + text(34),
        "plaid": "access" + "-production-" + make.uuid(),
        "sentry": "sntr" + "yu_" + hexes(64),
        "rubygems": "ruby" + "gems_" + hexes(48),
        "supabase": "sb" + "p_" + hexes(40),
        "langsmith": "ls" + f"v2_pt_{hexes(32)}_{hexes(10)}",
        "gemini": "A" + "Q.Ab8RN6" + text(44),
        "cloudflare": "cf" + "ut_" + text(40) + hexes(8),
        "vercel": "vc" + "p_" + text(56),
        "bedrock": "bedrock-" + "api-key-YmVkcm9jay5hbWF6b25hd3MuY29t" + text(80),
        "bitcoin": "K" + "x" + text(50, BASE58),
        "bitcoin, uncompressed": "5" + "J" + text(49, BASE58),
        "wallet": "xp" + "rv9s21ZrQH143K" + text(97, BASE58),
        "jenkins": "{AQ" + "AAABAAAAAQ" + make.b64(33) + "}",
        "mongodb": "mdb" + "_sa_sk_" + text(40),
        "wandb": "wan" + "db_v1_" + text(77),
        "cursor": "cr" + "sr_" + hexes(64),
        "mailersend": "ml" + "sn." + hexes(64),
        "axiom": "xa" + "at-" + make.uuid(),
        "honeycomb": "hca" + "ik_01" + text(56).lower(),
        "posthog": "ph" + "x_" + text(43),
        "polar": "pol" + "ar_oat_" + text(43),
        "inngest": "sign" + "key-prod-" + hexes(64),
        "sonar": "sq" + "u_" + hexes(40),
        "terraform": text(14) + ".atla" + "sv1." + text(67),
        "asana": f"2/{text(16, '123456789')}/{text(16, '123456789')}:" + hexes(32),
        "ghost": hexes(24) + ":" + hexes(64),
        "e2b": "e" + "2b_" + hexes(40),
        "slack, of a browser": f"xo{'xc'}-{text(12, '123456789')}-{text(12, '123456789')}-{hexes(64)}",
        "openssh, body": "b3BlbnNzaC1rZXkt" + "djEAAAAABG5vbmUA" + make.b64(90),
        "pkcs8, body": "MIIEvQIBADANBgkqhkiG9w0" + "BAQEFAASC" + text(120),
        "htpasswd": "$ap" + "r1$" + text(8) + "$" + text(22),
        "bcrypt": "$2" + "y$10$" + text(53),
        "shadow": "$" + "6$" + text(16) + "$" + text(86),
        "pem": make.pem(),
        "openssh": make.pem("OPENSSH PRIVATE"),
        "packed pem": base64.b64encode(make.pem().encode()).decode(),
    }


def named(seed: int) -> dict[str, tuple[str, str]]:
    """(text with `{}` in the place of the secret, the secret) of each way to name a credential in a text."""
    make = Maker(seed)
    password, text = make.password(), make.text
    words = "abandon ability able about above absent absorb abstract absurd abuse access accident"
    basic = base64.b64encode(f"user:{password}".encode()).decode()
    return {
        "slack hook": ("POST https://hooks.slack.com/services/{}", f"T{make.upper(8)}/B{make.upper(8)}/{text(24)}"),
        "url": ("postgres://app:{}@db.example:5432/x", "pa#ss/w" + text(6)),
        "url without user": ("redis://:{}@cache:6379/0", password),
        "url with a token alone": ("git clone https://{}@git.example/a/b", "x" + text(30)),
        "dsn": ("app:{}@tcp(db:3306)/x", "pa55word." + text(2)),
        "env": ("DB_PASSWORD={}\n", "abc!" + text(3) + "9"),
        "env, one after the other": ("export PASSWORD={}\nFOO=1", "hunter" + text(2, "23456789")),
        "env in a query": ("GET /x?access_token={}&a=1", text(32)),
        "words": ('password: "{}"', "correcthorsebattery"),
        "yaml": ("password: {}\n", "hunter2$Blue!Monkey77"),
        "json": ('{{"user":"a","password":"{}"}}', "Tr0ub4dor&3"),
        "json in json": ('"{{\\"password\\": \\"{}\\"}}"', "Tr0ub4dor" + text(3)),
        "docker": ('{{"auths":{{"https://r":{{"auth": "{}"}}}}}}', basic),
        "curl": ("curl -u admin:{} https://h", "s3cret" + text(2)),
        "kubernetes": ("apiVersion: v1\nkind: Secret\ndata:\n  user: YWRtaW4=\n  pw: {}\n", make.b64(9)),
        "kubernetes, kind last": ("apiVersion: v1\ndata:\n  pw: {}\nkind: Secret\n", make.b64(9)),
        "connection string": ("AccountName=a;AccountKey={};EndpointSuffix=core.example", make.b64(64)),
        "connection string, sql": ("Server=db;User Id=sa;Password={};Database=x", "abc!12" + text(2)),
        "keyword dsn": ("host=h user=u password={} dbname=d", "s3cr3t" + text(3)),
        "signed url": ("https://a.example/c/f?sv=2020&sig={}&se=1", text(40) + "%3D"),
        "hexadecimal": ("DD_API_KEY={}", make.hex(32)),
        "netrc": ("machine h\n  login me\n  password {}\n", "hunter" + text(3)),
        "netrc in a line": ("machine h login me password {}", "hunter" + text(3)),
        "sshpass": ("sshpass -p {} ssh a@b", "hunter" + text(3)),
        "mysql": ("mysql -u root -p{} db", "hunter" + text(3)),
        "cookie": ("Cookie: theme=dark; session={}; x=1", text(26)),
        "set-cookie": ("Set-Cookie: sid={}; Path=/; HttpOnly", text(26)),
        "mnemonic": ("mnemonic: {}\n", words),
        "terraform": ('secret_string = "{}"', password),
        "bearer": ("Authorization: Bearer {}", text(40)),
        "basic": ("Authorization: Basic {}", basic),
        "token header": ("Authorization: Token {}", make.hex(40)),
        "key header": ("-H 'X-Api-Key: {}'", make.hex(32)),
        "option": ("tool --token {} run", text(20)),
        "option of a password": ('tool --password="{}"', password),
        "putty": ("Private-Lines: 2\n{}\nPrivate-MAC: x", make.b64(48) + "\n" + make.b64(48)),
        "wireguard": ("PrivateKey = {}\n", make.b64(32)),
        "xml": ("<password>{}</password>", password),
        "xml attribute": ('<add key="ClearTextPassword" value="{}" />', password),
        "list of variables": ("- name: DB_PASSWORD\n  value: {}\n", "hunter" + text(3, "23456789")),
        "list of variables, json": ('[{{"name": "DB_PASSWORD", "value": "{}"}}]', password),
        "call": ('os.environ.setdefault("API_KEY", "{}")', text(24)),
        "npm settings": ("//registry.example/:_authToken={}", text(36)),
        "django": ("SECRET_KEY = '{}'", text(20) + "!@#" + text(20)),
        "aws secret": ("aws_secret_access_key = {}", make.b64(30)),
        "jwk": ('{{"kty":"EC","crv":"P-256","d":"{}"}}', text(43)),
        "arguments": ('["mysql", "--password", "{}"]', password),
        "java": ('String password = "{}";', password),
        "sql": ("CREATE USER a IDENTIFIED BY '{}'", password),
        "pair": ('get(u, auth=("bob", "{}"))', password),
        "wifi": ('psk="{}"', password),
        **written(
            lambda: "hunter" + text(1, "23456789") + text(4) + "B",
            lambda: f"p@ss#1/w{text(4)}&x!",
            lambda: text(36),
        ),
        "telegram, in an address": ("https://api.telegram.org/bot{}/getMe", "123456789:A" + "A" + text(33)),
        "digest": ('Authorization: Digest username="a", response="{}"', make.hex(32)),
        "number": ('{{"password":{}}}', text(8, "123456789")),
        "kubernetes in JSON": ('{{"kind":"Secret","data":{{"p":"{}"}}}}', make.b64(12)),
        "beside an id of AWS": ("AK" + "IA" + make.upper(16) + " {}", make.b64(30)),
        "beside an id of Twilio": (f'Client("AC{make.hex(32)}", "{{}}")', make.hex(32)),
        "vault of Ansible": ("$ANSIBLE_VAULT;1.1;AES256\n{}\n", make.hex(80) + "\n" + make.hex(80)),
        "words of dice": ('passphrase: "{}"', "correct horse battery staple"),
        "escaped quote": ('{{"password":"{}"}}', 'a\\"b7' + text(6)),
        "after a colour": ("\x1b[32m{}\x1b[0m", "gh" + "p_" + text(36)),
        "after a percent code": ("a%3D{}", "gh" + "p_" + text(36)),
        "after an escape": ("x\\n{}\\n", "gh" + "p_" + text(36)),
    }


def longest_part(secret: str) -> str:
    """The part of a secret that must not be found: a secret of lines is written with other ends."""
    return max(secret.split(), key=len)


texts_with_secrets = st.integers(0, 10**6).flatmap(
    lambda seed: st.sampled_from(
        [(secret, f"see {secret} there") for secret in issued(seed).values()]
        + [(secret, context.format(secret)) for context, secret in named(seed).values()]
    )
)
"""(secret, text that holds it)."""
