"""Kinds of credentials of an issuer's form: the form of each, the source of the form, and the date of the last look.

    kind             left parts      right part                      source

A token begins with one of the left parts, at the beginning of a word; the right part, an expression, must follow. The
forms are facts of the issuers: the table names where each was looked up, and holds no text of those catalogues.
"""

from __future__ import annotations

from typing import NamedTuple

SOURCES = {
    "gitleaks": "gitleaks (MIT), config/gitleaks.toml of 420a0f55",
    "issuer": "the issuer's own published form",
    "recalled": "the form as its issuer publishes it, from memory: not looked up again",
    "seen": "public manuals and settings that show the form, found by its left part in stored repositories",
    "report": "a public report of a credential that a session kept, named in decision 0036",
}
"""The sources of the forms. Every row but a `recalled` one was compared with its source on 2026-11-30."""

LOWER_HEX = "[0-9a-f]"
HEX = "[0-9A-Fa-f]"
ALNUM = "[A-Za-z0-9]"
WORD = "[A-Za-z0-9_-]"
DOTTED = r"(?:[A-Za-z0-9_-]|\.(?=[A-Za-z0-9_-]))"
"""Dots belong to the token, but for a dot at its end: that ends a sentence."""
BASE64 = "[A-Za-z0-9+/]"
BASE58 = "[1-9A-HJ-NP-Za-km-z]"


class CredentialKind(NamedTuple):
    """A form: left parts, with spaces between, and an expression of the part that must follow."""

    kind: str
    left: str
    right: str
    source: str
    must_look_random: bool = False
    """The left part alone is no proof: words have it too."""


_ROWS = (
    # Source hosts and package registries
    ("github_token", "gho_ ghp_ ghr_ ghs_ ghu_", f"{ALNUM}{{36,}}", "gitleaks"),
    ("github_token", "github_pat_", "[A-Za-z0-9_]{22,}", "gitleaks"),
    ("gitlab_token", "glpat- gldt- glrt- glcbt- glptt- glft- glimt-", f"{DOTTED}{{20,}}", "gitleaks"),
    ("gitlab_token", "glagent- gloas- glsoat- glffct- glwt-", f"{DOTTED}{{20,}}", "gitleaks"),
    ("gitlab_token", "GR1348941", f"{WORD}{{20,}}", "gitleaks"),
    ("bitbucket_token", "ATATT3xFf ATBB ATCTT3xFf", r"[A-Za-z0-9_=-]{24,}", "issuer"),
    ("npm_token", "npm_", f"{ALNUM}{{36,}}", "gitleaks"),
    ("pypi_token", "pypi-", f"{WORD}{{40,}}", "gitleaks"),
    ("rubygems_token", "rubygems_", f"{LOWER_HEX}{{48}}", "gitleaks"),
    ("nuget_key", "oy2", "[a-z0-9]{43}(?![A-Za-z0-9])", "issuer"),
    ("crates_token", "cio", f"{ALNUM}{{32}}(?![A-Za-z0-9_-])", "recalled", True),
    ("sonar_token", "sqa_ sqp_ squ_", f"{LOWER_HEX}{{40}}(?![A-Za-z0-9])", "recalled"),
    ("clojars_token", "CLOJARS_", f"{ALNUM}{{50,}}", "gitleaks"),
    ("docker_token", "dckr_oat_ dckr_pat_", f"{WORD}{{20,}}", "report"),
    ("sourcegraph_token", "sgp_", "[A-Za-z0-9_]{40,}", "gitleaks"),
    # Clouds and hosting
    ("aws_key", "ABIA ACCA AKIA ASIA", "[A-Z0-9]{16}(?![A-Za-z0-9])", "gitleaks"),
    ("aws_key", "ABSK", "[A-Za-z0-9+/]{60,}={0,2}", "issuer"),
    ("google_key", "AIza", f"{WORD}{{35,}}", "gitleaks"),
    ("aws_key", "bedrock-api-key-", f"{BASE64}{{40,}}={{0,2}}", "report"),
    ("google_key", "AQ.", f"Ab8RN6{WORD}{{20,}}", "report"),
    ("google_key", "ya29.", r"[A-Za-z0-9_.-]{20,}", "issuer"),
    ("google_key", "GOCSPX-", f"{WORD}{{20,}}", "issuer"),
    ("google_key", "1//0", f"{WORD}{{40,}}", "issuer"),
    ("alibaba_key", "LTAI", f"{ALNUM}{{16,24}}(?![A-Za-z0-9])", "gitleaks"),
    ("tencent_key", "AKID", f"{ALNUM}{{32}}(?![A-Za-z0-9])", "issuer"),
    ("digitalocean_token", "doo_v1_ dop_v1_ dor_v1_", f"{LOWER_HEX}{{64}}", "gitleaks"),
    ("fly_token", "fm1a_ fm1r_ fm2_ fo1_", r"[A-Za-z0-9+/_=-]{40,}", "gitleaks"),
    ("heroku_key", "HRKU-", f"{WORD}{{30,}}", "issuer"),
    ("netlify_token", "nfp_", f"{ALNUM}{{36,}}", "issuer"),
    ("render_key", "rnd_", f"{ALNUM}{{24,}}", "issuer"),
    ("cloudflare_key", "v1.0-", f"{LOWER_HEX}{{24}}-{LOWER_HEX}{{100,}}", "gitleaks"),
    ("cloudflare_token", "cfat_ cfk_ cfut_", f"{ALNUM}{{40,}}", "report"),
    ("vercel_token", "vca_ vci_ vck_ vcp_ vcr_", f"{ALNUM}{{24,}}", "report"),
    ("vercel_token", "vercel_blob_rw_", f"{ALNUM}{{12,}}_{ALNUM}{{24,}}", "recalled"),
    ("scalingo_token", "tk-us-", f"{WORD}{{48}}", "gitleaks"),
    ("openshift_token", "sha256~", f"{WORD}{{43}}", "gitleaks"),
    ("planetscale_token", "pscale_oauth_ pscale_pw_ pscale_tkn_", r"[A-Za-z0-9_=.-]{32,}", "gitleaks"),
    ("supabase_token", "sb_secret_ sbp_", f"{WORD}{{28,}}", "issuer"),
    ("neon_key", "napi_", f"{ALNUM}{{40,}}", "issuer"),
    ("databricks_token", "dapi", f"{LOWER_HEX}{{32}}(?:-[0-9])?", "gitleaks"),
    ("clickhouse_key", "4b1d", f"{ALNUM}{{38}}(?![A-Za-z0-9])", "gitleaks"),
    ("vault_token", "hvb. hvr. hvs.", f"{WORD}{{20,}}", "report"),
    ("vault_token", "s.", f"{ALNUM}{{24}}(?![A-Za-z0-9_-])", "recalled", True),
    ("mongodb_key", "mdb_sa_sk_", f"{WORD}{{32,}}", "seen"),
    ("infisical_token", "st.", rf"{LOWER_HEX}{{24}}\.{LOWER_HEX}{{32}}\.{LOWER_HEX}{{32}}", "recalled"),
    ("terraform_token", "atlasv1.", r"[A-Za-z0-9_=-]{60,}", "gitleaks"),
    ("pulumi_token", "pul-", f"{LOWER_HEX}{{40}}", "gitleaks"),
    ("doppler_token", "dp.audit. dp.ct. dp.pt. dp.sa. dp.scim. dp.st.", r"[A-Za-z0-9._-]{40,}", "gitleaks"),
    ("onepassword_token", "ops_eyJ", f"{BASE64}{{60,}}={{0,3}}", "gitleaks"),
    ("onepassword_key", "A3-", "[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})(?:-[A-Z0-9]{5}){3}", "gitleaks"),
    ("tailscale_key", "tskey-", f"{WORD}{{20,}}", "issuer"),
    ("age_key", "AGE-SECRET-KEY-1 AGE-SECRET-KEY-PQ-1", "[0-9A-Z]{50,}", "report"),
    ("ngrok_token", "cr_", f"{ALNUM}{{27}}(?![A-Za-z0-9])", "issuer", True),
    # Models
    ("anthropic_key", "sk-ant-", f"{WORD}{{20,}}", "gitleaks"),
    ("langfuse_key", "sk-lf-", f"{HEX}{{8}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{12}}", "recalled"),
    ("openai_key", "csk- pk-lf- sess- sk-", f"{DOTTED}{{20,}}", "report", True),
    ("cerebras_key", "csk-", "[a-z0-9]{40,}(?![A-Za-z0-9-])", "recalled"),
    ("helicone_key", "sk-helicone-", f"{WORD}{{20,}}", "recalled"),
    ("modal_token", "ak- as-", f"{ALNUM}{{22}}(?![A-Za-z0-9-])", "recalled", True),
    ("wandb_key", "wandb_v1_", f"{WORD}{{40,}}", "seen"),
    ("runpod_key", "rpa_", f"{ALNUM}{{36,}}", "recalled", True),
    ("e2b_key", "e2b_", f"{LOWER_HEX}{{40}}", "recalled"),
    ("browserbase_key", "bb_live_ bb_test_", f"{WORD}{{24,}}", "recalled", True),
    ("daytona_key", "dtn_", f"{LOWER_HEX}{{40,}}(?![A-Za-z0-9])", "recalled"),
    ("cursor_key", "crsr_", f"{LOWER_HEX}{{40,}}", "seen"),
    ("cursor_key", "key_", f"{LOWER_HEX}{{64}}(?![A-Za-z0-9])", "seen"),
    ("openrouter_key", "sk-or-", f"{WORD}{{20,}}", "issuer"),
    ("groq_key", "gsk_", f"{ALNUM}{{30,}}", "report"),
    ("xai_key", "xai-", f"{ALNUM}{{40,}}", "report"),
    ("perplexity_key", "pplx-", f"{ALNUM}{{32,}}", "report"),
    ("replicate_token", "r8_", f"{ALNUM}{{30,}}", "report"),
    ("elevenlabs_key", "sk_", f"{LOWER_HEX}{{48}}(?![A-Za-z0-9])", "report"),
    ("huggingface_token", "api_org_ hf_", f"{ALNUM}{{30,}}", "gitleaks"),
    ("nvidia_key", "nvapi-", f"{WORD}{{40,}}", "issuer"),
    ("together_key", "tgp_v1_", f"{WORD}{{30,}}", "issuer"),
    ("fireworks_key", "fw_", f"{ALNUM}{{20,}}", "issuer", True),
    ("tavily_key", "tvly-", f"{WORD}{{20,}}", "issuer"),
    ("langsmith_key", "lsv2_pt_ lsv2_sk_", "[A-Za-z0-9_]{32,}", "issuer"),
    ("pinecone_key", "pcsk_", "[A-Za-z0-9_]{40,}", "issuer"),
    ("voyage_key", "al- pa-", f"{WORD}{{40,}}", "issuer", True),
    ("jina_key", "jina_", f"{WORD}{{40,}}", "issuer"),
    ("apify_token", "apify_api_", f"{ALNUM}{{30,}}", "recalled"),
    ("firecrawl_key", "fc-", f"{LOWER_HEX}{{32}}(?![A-Za-z0-9])", "issuer"),
    ("yandex_key", "AQVN", f"{WORD}{{35,38}}(?![A-Za-z0-9_-])", "gitleaks"),
    ("yandex_key", "y0_Ag", f"{WORD}{{40,}}", "issuer"),
    # Messages and mail
    ("slack_token", "xoxa- xoxb- xoxc- xoxd- xoxe- xoxo- xoxp- xoxr- xoxs-", f"{WORD}{{10,}}", "gitleaks", True),
    ("slack_token", "xoxa- xoxb- xoxc- xoxd- xoxe- xoxo- xoxp- xoxr- xoxs-", f"[0-9]{{6,}}-{WORD}{{10,}}", "gitleaks"),
    ("slack_token", "xoxe.xoxb- xoxe.xoxp-", f"{WORD}{{40,}}", "gitleaks"),
    ("slack_token", "xwfp-", f"[0-9]{{6,}}-{WORD}{{10,}}", "recalled"),
    ("slack_token", "xapp-", f"[0-9]-{WORD}{{20,}}", "gitleaks"),
    ("sendgrid_key", "SG.", rf"{WORD}{{16,}}\.{WORD}{{16,}}", "gitleaks"),
    ("sendinblue_key", "xkeysib- xsmtpsib-", f"{LOWER_HEX}{{64}}-{ALNUM}{{16}}", "gitleaks"),
    ("mailersend_key", "mlsn.", f"{LOWER_HEX}{{60,}}", "seen"),
    ("mailchimp_key", "md-", f"{WORD}{{22}}(?![A-Za-z0-9_-])", "recalled", True),
    ("discord_token", "mfa.", f"{WORD}{{80,}}", "recalled"),
    ("mailgun_key", "key-", f"(?<![A-Za-z][-_]key-){LOWER_HEX}{{32}}(?![A-Za-z0-9])", "gitleaks"),
    ("resend_key", "re_", f"{ALNUM}{{8,}}_{ALNUM}{{16,}}", "issuer", True),
    # An account's id is no secret; the token beside it has no form but its length.
    ("twilio_key", "AC", r"""[0-9a-f]{32}[\\"'\s,;:|]{1,16}[0-9a-f]{32}(?![0-9a-f])""", "recalled"),
    ("twilio_key", "SK", f"{LOWER_HEX}{{32}}(?![A-Za-z0-9])", "gitleaks"),
    ("facebook_token", "EAA", f"{ALNUM}{{90,}}", "gitleaks"),
    ("instagram_token", "IGAA IGQV", f"{WORD}{{100,}}", "issuer"),
    ("twitter_token", "AAAAAAAAAAAAAAAAAAAAAA", r"(?!A)[A-Za-z0-9%]{60,}", "gitleaks"),
    ("firebase_key", "AAAA", rf"{WORD}{{7}}:APA91b{WORD}{{100,}}", "issuer"),
    # Money
    ("stripe_key", "rk_live_ rk_prod_ rk_test_ sk_live_ sk_prod_ sk_test_", f"{ALNUM}{{16,}}", "gitleaks"),
    ("stripe_key", "sk_org_live_ sk_org_test_", f"{WORD}{{24,}}", "recalled"),
    ("clerk_key", "sk_", f"{ALNUM}{{40,}}(?![A-Za-z0-9_])", "recalled", True),
    ("stytch_key", "secret-live- secret-test-", f"{WORD}{{30,}}", "recalled"),
    ("statsig_key", "secret-", f"{ALNUM}{{40,}}(?![A-Za-z0-9-])", "recalled", True),
    ("polar_token", "polar_oat_ polar_pat_", f"{WORD}{{32,}}", "seen"),
    ("stripe_key", "whsec_", r"[A-Za-z0-9+/=]{24,}", "report"),
    ("square_token", "sq0atp- sq0csp- sq0idp-", f"{WORD}{{22,}}", "gitleaks"),
    ("square_token", "EAAA", f"{WORD}{{40,}}", "gitleaks", True),
    ("shopify_token", "shpat_ shpca_ shppa_ shpss_ shpua_", f"{HEX}{{32}}", "gitleaks"),
    ("shippo_token", "shippo_live_ shippo_test_", f"{HEX}{{40}}", "gitleaks"),
    ("razorpay_key", "rzp_live_ rzp_test_", f"{ALNUM}{{14,}}", "issuer"),
    ("flutterwave_key", "FLWPUBK- FLWPUBK_TEST- FLWSECK- FLWSECK_TEST-", "[A-Za-z0-9-]{12,}", "gitleaks"),
    (
        "plaid_token",
        "access-development- access-production- access-sandbox-",
        f"{HEX}{{8}}-[0-9a-f-]{{27}}",
        "gitleaks",
    ),
    ("braintree_token", "access_token$production$ access_token$sandbox$", r"[a-z0-9]{16}\$[0-9a-f]{32}", "issuer"),
    ("easypost_key", "EZAK EZTK", f"{ALNUM}{{54}}", "gitleaks"),
    ("duffel_token", "duffel_live_ duffel_test_", r"[A-Za-z0-9_=-]{43}", "gitleaks"),
    ("lob_key", "live_ test_", f"{LOWER_HEX}{{35}}(?![A-Za-z0-9])", "gitleaks"),
    ("lob_key", "live_pub_ test_pub_", f"{LOWER_HEX}{{31}}(?![A-Za-z0-9])", "gitleaks"),
    ("bitcoin_key", "5H 5J 5K", f"{BASE58}{{49}}(?![A-Za-z0-9])", "report", True),
    ("bitcoin_key", "Kw Kx Ky Kz L1 L2 L3 L4 L5", f"{BASE58}{{50}}(?![A-Za-z0-9])", "report", True),
    ("wallet_key", "tprv xprv yprv zprv", f"{BASE58}{{100,112}}(?![A-Za-z0-9])", "report"),
    # Work and watching
    ("atlassian_token", "ATATT3 ATCTT3", r"[A-Za-z0-9_=-]{60,}", "gitleaks"),
    ("linear_key", "lin_api_ lin_oauth_", f"{ALNUM}{{32,}}", "report"),
    ("notion_token", "ntn_", f"{ALNUM}{{43,}}", "issuer"),
    ("notion_token", "secret_", f"{ALNUM}{{43,}}", "issuer", True),
    ("airtable_token", "pat", rf"{ALNUM}{{14}}\.{LOWER_HEX}{{64}}", "issuer"),
    ("figma_token", "figd_ figo_ figur_", f"{WORD}{{36,}}", "issuer"),
    ("asana_token", "0/ 2/", "[0-9]{16}(?:/[0-9]{16})?:[0-9a-f]{32}", "issuer"),
    ("hubspot_token", "pat-na1- pat-na2- pat-eu1- pat-ap1-", f"{HEX}{{8}}-[0-9A-Fa-f-]{{27}}", "issuer"),
    ("postman_key", "PMAK-", f"{HEX}{{24}}-{HEX}{{34}}", "gitleaks"),
    ("typeform_token", "tfp_", r"[A-Za-z0-9_.=-]{40,}", "gitleaks"),
    ("contentful_token", "CFPAT-", f"{WORD}{{40,}}", "issuer"),
    ("readme_key", "rdme_", "[a-z0-9]{70}", "gitleaks"),
    ("frameio_token", "fio-u-", r"[A-Za-z0-9_=-]{64}", "gitleaks"),
    ("prefect_token", "pnb_ pnu_", f"{ALNUM}{{36}}", "gitleaks"),
    ("settlemint_token", "sm_aat_ sm_pat_ sm_sat_", f"{ALNUM}{{16}}", "gitleaks"),
    ("octopus_key", "API-", "[A-Z0-9]{26,}(?![A-Za-z0-9])", "gitleaks", True),
    ("adobe_secret", "p8e-", f"{ALNUM}{{32}}", "gitleaks"),
    ("dynatrace_token", "dt0c01. dt0s01. dt0s02. dt0s03. dt0s04.", r"[A-Z0-9]{24}\.[A-Z0-9]{64}", "gitleaks"),
    ("newrelic_key", "NRAK- NRII- NRJS- NRRA- NRSP-", "[A-Za-z0-9-]{19,}", "gitleaks"),
    ("grafana_token", "glc_ glsa_", r"[A-Za-z0-9+/_=]{32,}", "issuer"),
    ("grafana_token", "eyJrIjoi", r"[A-Za-z0-9+/=]{50,}", "issuer"),
    ("honeycomb_key", "hcaik_ hcxik_ hcalk_ hcamk_", f"{ALNUM}{{50,}}", "seen"),
    ("axiom_token", "xaat- xapt-", f"{HEX}{{8}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{12}}", "seen"),
    ("posthog_key", "phc_ phs_ phx_", f"{ALNUM}{{40,}}", "recalled"),
    ("inngest_key", "signkey-prod- signkey-branch- signkey-test-", f"{LOWER_HEX}{{32,}}", "seen"),
    ("trigger_key", "tr_dev_ tr_prod_ tr_stg_", f"{ALNUM}{{20,}}", "recalled", True),
    ("sanity_token", "sk", f"{ALNUM}{{80,}}", "recalled", True),
    ("sentry_token", "sntrys_ sntryu_", r"[A-Za-z0-9+/=_]{40,}", "gitleaks"),
    (
        "launchdarkly_key",
        "api- mob- sdk-",
        f"{HEX}{{8}}-{HEX}{{4}}-4{HEX}{{3}}-{HEX}{{4}}-{HEX}{{12}}(?![.][a-z])",
        "issuer",
    ),
    ("buildkite_token", "bkaa_ bkct_ bkua_", f"{ALNUM}{{32,}}", "issuer"),
    ("circleci_token", "CCIPAT_ CCIPRJ_", r"[A-Za-z0-9_]{30,}", "issuer"),
    ("infracost_key", "ico-", f"{ALNUM}{{32}}", "issuer"),
    ("artifactory_token", "AKCp", f"{ALNUM}{{60,}}", "issuer"),
    ("artifactory_token", "cmVmdGtu", f"{ALNUM}{{50,}}", "issuer"),
    ("defined_token", "dnkey-", r"[A-Za-z0-9_=-]{26}-[A-Za-z0-9_=-]{52}", "gitleaks"),
    ("dropbox_token", "sl.", f"{WORD}{{60,}}", "gitleaks"),
    ("trello_token", "ATTA", f"{HEX}{{60,}}", "issuer"),
    ("mapbox_token", "pk.eyJ sk.eyJ", rf"{WORD}{{40,}}\.{WORD}{{20,}}", "issuer"),
    # A private key's own base64, by what its first bytes always are: of OpenSSH, PKCS #8 and PKCS #1
    ("private_key_body", "b3BlbnNzaC1rZXktdjE", r"[A-Za-z0-9+/=\s]{40,}", "recalled"),
    (
        "private_key_body",
        "MIIEpAIBAAKCAQEA MIIEowIBAAKCAQEA MIIJKAIBAAKCAgEA MIIJKQIBAAKCAgEA",
        r"[A-Za-z0-9+/=\s]{40,}",
        "issuer",
    ),
    (
        "private_key_body",
        "MIIEvQIBADANBgkqhkiG9w0 MIIEvgIBADANBgkqhkiG9w0 MIIJQgIBADANBgkqhkiG9w0",
        r"[A-Za-z0-9+/=\s]{40,}",
        "issuer",
    ),
    ("private_key_body", "MHcCAQEEI MIGHAgEAMBMGByqGSM49 MC4CAQAwBQYDK2VwBCIEI", r"[A-Za-z0-9+/=\s]{40,}", "recalled"),
    # A private key, packed once more: `-----BEGIN … PRIVATE KEY` as base64
    ("private_key", "LS0tLS1CRUdJTi", r"[A-Za-z0-9+/=\s]{40,}", "report"),
)

CREDENTIAL_KINDS = tuple(CredentialKind(*row) for row in _ROWS)

SHAPES = (
    ("telegram_token", ":AA", r"[A-Za-z]{0,16}[0-9]{8,10}:AA[A-Za-z0-9_-]{32,34}(?![A-Za-z0-9_-])", "report"),
    ("discord_token", ".", r"[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,}", "issuer"),
    ("zhipu_key", ".", r"[0-9a-f]{32}\.[A-Za-z0-9]{16}(?![A-Za-z0-9])", "report"),
    ("mailchimp_key", "-us", r"[0-9a-f]{32}-us[0-9]{1,2}(?![A-Za-z0-9])", "gitleaks"),
    ("azure_secret", "Q~", r"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}", "gitleaks"),
    ("facebook_token", "|", r"[0-9]{15,16}\|[A-Za-z0-9_-]{27,}", "gitleaks"),
    ("salesforce_token", "!", r"00D[A-Za-z0-9]{12,15}![A-Za-z0-9_.]{80,}", "issuer"),
    ("ghost_key", ":", r"[0-9a-f]{24}:[0-9a-f]{64}(?![0-9a-f])", "recalled"),
    ("azure_pat", "JQQJ99", r"[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{26}", "issuer"),
)
"""Forms without a left part: (kind, text that the form has, the form, source)."""
