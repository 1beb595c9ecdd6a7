"""What looks like secrets, put together at run time so that no scanner trips, and what does not.

Nothing here was ever valid: the random parts come from a seed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import string
import uuid
from typing import Final

_ALNUM: Final = string.ascii_letters + string.digits
_LOWER: Final = string.ascii_lowercase + string.digits
_UPPER: Final = string.ascii_uppercase + string.digits
_HEX: Final = "0123456789abcdef"
_URL: Final = _ALNUM + "-_"


class Fakes:
    """Makes the random parts, always the same ones."""

    def __init__(self, seed: int = 7) -> None:
        self._random = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret

    def text(self, alphabet: str, length: int) -> str:
        """Return characters of an alphabet, a digit and both cases among them where it has some."""
        made = self._random.choices(alphabet, k=length)
        kinds = (string.digits, string.ascii_lowercase, string.ascii_uppercase)
        for place, kind in enumerate(kinds):
            shared = sorted(set(kind) & set(alphabet))
            if shared and length > len(kinds):
                made[1 + place] = self._random.choice(shared)
        return "".join(made)


def self_evident(fakes: Fakes) -> dict[str, str]:
    """Return tokens that are known by their look alone."""
    f = fakes.text
    jwt = ".".join(
        base64.urlsafe_b64encode(part).decode().rstrip("=")
        for part in (b'{"alg":"HS256","typ":"JWT"}', b'{"sub":"1234567890"}', f(_HEX, 32).encode())
    )
    made = {
        "aws access key": "AK" + "IA" + f(_UPPER, 16),
        "aws temporary key": "AS" + "IA" + f(_UPPER, 16),
        "github classic": "gh" + "p_" + f(_ALNUM, 36),
        "github oauth": "gh" + "o_" + f(_ALNUM, 36),
        "github refresh": "gh" + "r_" + f(_ALNUM, 76),
        "github app": "gh" + "s_" + f(_ALNUM, 36),
        "github fine-grained": "github" + "_pat_" + f(_ALNUM, 22) + "_" + f(_ALNUM, 59),
        "gitlab": "gl" + "pat-" + f(_URL, 20),
        "gitlab routable": "gl" + "pat-" + f(_URL, 27) + ".01." + f(_LOWER, 9),
        "gitlab runner": "GR" + "1348941" + f(_URL, 20),
        "slack bot": "xo" + "xb-" + f(string.digits, 12) + "-" + f(_ALNUM, 24),
        "slack user": "xo" + "xp-" + f(string.digits, 12) + "-" + f(_ALNUM, 32),
        "slack rotating": "xo" + "xe.xo" + "xp-1-" + f(_ALNUM, 140),
        "slack app": "xa" + "pp-1-A" + f(_UPPER, 10) + "-" + f(string.digits, 13) + f(_HEX, 64),
        "slack hook": "https://hooks.slack.com/services/T" + f(_UPPER, 8) + "/B" + f(_ALNUM, 24),
        "discord hook": "https://discord" + ".com/api/webhooks/" + "1" * 18 + "/" + f(_URL, 68),
        "openai": "sk" + "-" + f(_ALNUM, 48),
        "openai project": "sk" + "-proj-" + f(_URL, 74),
        "openai service": "sk" + "-svcacct-" + f(_URL, 60),
        "anthropic": "sk" + "-ant-api03-" + f(_URL, 93),
        "openrouter": "sk" + "-or-v1-" + f(_HEX, 64),
        "hugging face": "hf" + "_" + f(_ALNUM, 34),
        "hugging face organisation": "api" + "_org_" + f(_ALNUM, 34),
        "groq": "gs" + "k_" + f(_ALNUM, 52),
        "replicate": "r8" + "_" + f(_ALNUM, 37),
        "xai": "xa" + "i-" + f(_ALNUM, 80),
        "perplexity": "pp" + "lx-" + f(_ALNUM, 48),
        "nvidia": "nv" + "api-" + f(_URL, 64),
        "weights and biases": "wandb" + "_v1_" + f(_URL, 60),
        "jwt": jwt,
        "google api": "AI" + "za" + f(_URL, 35),
        "google oauth": "ya" + "29." + f(_URL, 60),
        "google client": "GOC" + "SPX-" + f(_URL, 28),
        "stripe live": "sk" + "_live_" + f(_ALNUM, 24),
        "stripe restricted": "rk" + "_live_" + f(_ALNUM, 24),
        "stripe hook": "wh" + "sec_" + f(_ALNUM, 32),
        "pypi": "py" + "pi-AgEIcHlwaS5vcmc" + f(_URL, 80),
        "npm": "np" + "m_" + f(_ALNUM, 36),
        "rubygems": "ruby" + "gems_" + f(_HEX, 48),
        "docker": "dc" + "kr_pat_" + f(_URL, 27),
        "databricks": "da" + "pi" + f(_HEX, 32),
        "vault": "hv" + "s." + f(_URL, 90),
        "sendgrid": "S" + "G." + f(_URL, 22) + "." + f(_URL, 43),
        "digital ocean": "do" + "p_v1_" + f(_HEX, 64),
        "linear": "lin" + "_api_" + f(_ALNUM, 40),
        "notion": "nt" + "n_" + f(_ALNUM, 46),
        "grafana service": "gl" + "sa_" + f(_ALNUM, 32) + "_" + f(_HEX, 8),
        "grafana cloud": "gl" + "c_" + f(_ALNUM, 60),
        "sentry": "sn" + "trys_" + f(_ALNUM, 80),
        "new relic": "NR" + "AK-" + f(_UPPER, 27),
        "shopify": "sh" + "pat_" + f(_HEX, 32),
        "postman": "PM" + "AK-" + f(_HEX, 24) + "-" + f(_HEX, 34),
        "tailscale": "ts" + "key-auth-" + f(_ALNUM, 12) + "-" + f(_ALNUM, 32),
        "terraform": f(_ALNUM, 14) + ".atlas" + "v1." + f(_URL, 60),
        "telegram": f(string.digits, 10) + ":AA" + f(_URL, 33),
        "atlassian": "ATA" + "TT3xFfGF0" + f(_URL, 60),
        "netlify": "nf" + "p_" + f(_ALNUM, 36),
        "supabase": "sb" + "p_" + f(_HEX, 40),
        "age": "AGE-SECRET" + "-KEY-1" + f(_UPPER, 58),
        "azure client": f(_ALNUM, 3) + "8Q~" + f(_ALNUM + "-_.~", 34),
    }
    for kind in ("RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", ""):
        body = "\n".join(f(_ALNUM + "+/", 64) for _ in range(3))
        head = f"{kind}PRIVATE " + "KEY"
        made[f"pem {kind.strip().lower() or 'pkcs8'}"] = (
            f"-----BEGIN {head}-----\n{body}\n-----END {head}-----"
        )
    return made


def in_context(fakes: Fakes) -> list[tuple[str, str, str]]:
    """Return (kind, secret, text) of secrets that only their surroundings give away."""
    f = fakes.text
    word = f(_ALNUM, 11)
    basic = base64.b64encode(f"user:{word}".encode()).decode()
    long = f(_ALNUM + "+/", 40)
    hexed = f(_HEX, 40)
    account = base64.b64encode(f(_ALNUM, 64).encode()).decode()
    made = [
        ("url password", word, f"https://user:{word}@example.org/repo.git"),
        ("url token", word, f"git clone https://{word}@example.org/repo.git"),
        ("postgres", word, f"postgresql://app:{word}@db.example.org:5432/runs?sslmode=require"),
        ("mongo", word, f"mongodb+srv://app:{word}@cluster.example.org/db"),
        ("redis", word, f"redis://:{word}@cache:6379/0"),
        ("amqp", word, f"connecting to amqp://guest:{word}@mq:5672/%2f failed"),
        ("s3 url", word, f"s3://key:{word}@bucket/path"),
        ("odbc", word, f"Server=db;Database=x;User Id=sa;Password={word};Encrypt=yes"),
        ("odbc short", word, f"Driver={{ODBC}};UID=sa;PWD={word};"),
        ("libpq", word, f"host=db user=me password={word} dbname=x"),
        ("azure storage", account, f"DefaultEndpointsProtocol=https;AccountKey={account};X=1"),
        ("azure sas", long, f"https://x.blob.example.org/c?sv=2024&sig={long}&se=2026"),
        ("aws presigned", hexed, f"https://b.example.org/k?X-Amz-Signature={hexed}&x=1"),
        ("query key", word, f"https://api.example.org/v1?key={word}&page=2"),
        ("query token", word, f"GET /v1/runs?access_token={word} HTTP/1.1"),
        ("bearer", long, f"Authorization: Bearer {long}"),
        ("bearer short", word, f"curl -H 'Authorization: Bearer {word}' https://x"),
        ("basic", basic, f"authorization: Basic {basic}"),
        ("token header", word, f"Authorization: Token {word}"),
        ("api key header", word, f"x-api-key: {word}"),
        ("gitlab header", word, f"PRIVATE-TOKEN: {word}"),
        ("cookie", word, f"Cookie: sessionid={word}; theme=dark"),
        ("set-cookie", word, f"Set-Cookie: sid={word}; HttpOnly"),
        ("env", long, f"export AWS_SECRET_ACCESS_KEY={long}"),
        ("env line", hexed, f"WANDB_API_KEY={hexed} python train.py"),
        ("docker -e", word, f"docker run -e DB_PASSWORD={word} image"),
        ("dotenv", word, f'HF_TOKEN="{word}"\nLR=0.1'),
        ("powershell", word, f'$env:API_KEY = "{word}"'),
        ("json", word, json.dumps({"lr": 0.1, "api_key": word})),
        ("json in json", word, json.dumps(json.dumps({"client_secret": word}))),
        ("yaml", word, f"logger:\n  wandb:\n    api_key: {word}\n    project: x"),
        ("yaml quoted", word, f"password: '{word}'"),
        ("toml", word, f'auth_token = "{word}"'),
        ("python repr", word, f"Config(lr=0.1, api_key='{word}')"),
        ("dict repr", word, f"{{'user': 'me', 'password': '{word}'}}"),
        ("bytes repr", word, f"{{'secret': b'{word}'}}"),
        ("hydra", word, f"+logger.wandb.api_key={word}"),
        ("camel", word, f"accessToken={word}"),
        ("kebab", word, f"--client-secret={word}"),
        ("prose", word, f"login failed for user me with password: {word}"),
        ("prose is", word, f"the api key is: api_key={word}."),
        ("netrc", word, f"machine api.example.org login me password {word}"),
        ("error", word, f"ValueError: invalid token='{word}' for project x"),
        ("ssh pass", word, f"sshpass -p {word} ssh host"),
        ("comet", word, f"COMET_API_KEY: {word}"),
        ("neptune", long, f"NEPTUNE_API_TOKEN={long}"),
        ("mlflow", word, f"MLFLOW_TRACKING_PASSWORD={word}"),
        ("otlp headers", word, f"OTEL_EXPORTER_OTLP_HEADERS=api-key={word}"),
        ("otlp authorization", word, f"OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20{word}"),
        ("jdbc", word, f"jdbc:postgresql://db/x?user=me&password={word}"),
        ("two-factor", word, f"otp_secret={word}"),
        ("name with a space", word, f"API Key: {word}"),
        ("xml", word, f"<user>me</user><password>{word}</password>"),
        ("quoted url", word, f"https://x.example.org/?next=a%3Fclient_secret%3D{word}%26x%3D1"),
        ("quoted json", word, f"q=%7B%22api_key%22%3A%22{word}%22%7D"),
    ]
    return [*made, *((kind, secret, f"x {secret} y") for kind, secret in _tokens(fakes))]


def _tokens(fakes: Fakes) -> list[tuple[str, str]]:
    return list(self_evident(fakes).items())


def argument_lists(fakes: Fakes) -> list[tuple[str, str, list[str]]]:
    """Return (kind, secret, argv)."""
    word = fakes.text(_ALNUM, 11)
    return [
        ("--password=", word, ["train", f"--password={word}", "--lr=1"]),
        ("--password", word, ["train", "--password", word]),
        ("-password", word, ["train", "-password", word]),
        ("--api_key", word, ["train", "--api_key", word, "--seed", "1"]),
        ("--wandb-api-key", word, ["train", "--wandb-api-key", word]),
        ("--hf-token", word, ["train", f"--hf-token={word}"]),
        ("--auth", word, ["train", "--auth", f"me:{word}"]),
        ("--db-url", word, ["train", "--db-url", f"postgres://me:{word}@h/x"]),
        ("--header", word, ["curl", "--header", f"Authorization: Token {word}", "u"]),
        ("-H", word, ["curl", "-H", f"X-Api-Key: {word}"]),
        ("-u", word, ["curl", "-u", f"me:{word}", "u"]),
        ("env", word, ["env", f"API_TOKEN={word}", "train"]),
        ("-e", word, ["docker", "run", "-e", f"SECRET_KEY={word}", "image"]),
        ("--env", word, ["docker", "run", f"--env=DB_PASS={word}", "image"]),
        ("mysql -p", word, ["mysql", f"-p{word}", "db"]),
        ("redis-cli -a", word, ["redis-cli", "-a", word, "ping"]),
        ("sh -c", word, ["sh", "-c", f"TOKEN={word} python train.py"]),
        ("hydra", word, ["train.py", f"logger.wandb.api_key={word}", "lr=0.1"]),
        ("json", word, ["train.py", "--config", json.dumps({"password": word})]),
        ("ml key", word, ["train.py", "--comet.api_key", word]),
    ]


def innocent_texts(fakes: Fakes) -> list[tuple[str, str]]:
    """Return (kind, text) of what has to stay as it is."""
    f = fakes.text
    digest = hashlib.sha256(b"model").hexdigest()
    commit = hashlib.sha1(b"commit").hexdigest()  # noqa: S324 - git's digest, not a protection
    image = base64.b64encode(bytes(range(200))).decode()
    return [
        ("sha256", f"sha256:{digest}"),
        ("sha256 of a file", f"{digest}  artifacts/policy.zip"),
        ("image digest", f"registry.example.org/train@sha256:{digest}"),
        ("git commit", f"commit {commit}"),
        ("short commit", f"v1.2.3-4-g{commit[:7]}"),
        ("git refs", f"{commit} refs/heads/main"),
        ("uuid", str(uuid.UUID(digest[:32]))),
        ("run id", "20260131T120000Z-imitation-1a2b3c"),
        ("traceparent", f"00-{digest[:32]}-{digest[:16]}-01"),
        ("base64 image", f"data:image/png;base64,{image}"),
        ("base64", image),
        ("path", "/home/me/project/keys/tokenizer/model-0001.safetensors"),
        ("windows path", "C:\\Users\\me\\tokens\\file.txt"),
        ("url", "https://example.org/author/key_frame?page=2&tokens=5#top"),
        ("ssh url", "git@github.com:org/repo.git"),
        ("ssh scheme", "ssh://git@example.org/repo.git"),
        ("s3", "s3://bucket/prefix/checkpoint.pt"),
        ("wandb run", "https://wandb.ai/team/project/runs/1a2b3c4d"),
        ("package", "scikit-learn==1.5.0 sk-video-tools==1.1.10"),
        ("kebab", "sk-some-long-name-of-a-kebab-case-experiment-run"),
        ("model", "meta-llama/Llama-3.1-8B-Instruct"),
        ("hf model", "hf_hub_download(repo_id='gpt2', filename='tokenizer.json')"),
        ("env path", "PATH=/usr/local/bin:/usr/bin"),
        ("working directory", "cwd=/home/me PWD=/home/me"),
        ("cuda", "CUDA_VISIBLE_DEVICES=GPU-1a2b3c4d-1a2b-1a2b-1a2b-1a2b3c4d5e6f"),
        ("tensor", "tensor([[0.1, -0.2], [3e-4, 5.0]], device='cuda:0')"),
        ("shape", "obs shape (84, 84, 3), key_frame=12, num_keys=4"),
        ("tokens", "num_memory_tokens=8, max_tokens=4096, pad_token='<pad>', eos_token_id=2"),
        ("tokens seen", "tokens: 1048576, tokens/s: 5120.5, tokens_per_second=31250"),
        ("tokenizer", "tokenizer='gpt2', tokenizer_name=bert-base-uncased"),
        ("author", "author: Jane Doe <jane@example.org>, co-authored by John"),
        ("monkey", "monkey=1 turkey=2 keyboard=qwerty hockey=yes donkey=kong"),
        ("jax key", "key = jax.random.PRNGKey(0); key, subkey = jax.random.split(key)"),
        ("sorted", "sorted(rows, key=lambda row: row.score)"),
        ("metric key", "metric_key=eval/return, monitor_key='val_loss', reward_key: reward"),
        ("key error", "KeyError: 'reward'"),
        ("unexpected token", "SyntaxError: Unexpected token: ')' in line 3"),
        ("secretary", "the secretary kept the passenger's compass and her patience"),
        ("passes", "num_passes=3 forward_pass=0.1s backward_pass: 0.2s bypass=true"),
        ("authority", "authority=example.org auth_type=none authenticated=true"),
        ("public key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI me@host"),
        ("primary key", "primary_key=id foreign_key=user_id sort_key=time"),
        ("password file", "password_file=/run/secrets/db credentials_path=/etc/c.json"),
        ("secret name", "secret_name=db-login secretKeyRef.name=db"),
        ("cookie count", "cookie_count=3 session_length=120"),
        ("attention", "key_dim=64 value_dim=64 num_heads=8 key_padding_mask=None"),
        ("bearer prose", "the bearer of good news arrives"),
        ("basic prose", "a basic authorization flow with three steps"),
        ("ratio", "1:2:3 12:34:56 10.0.0.1:8080"),
        ("telegram like", "12345678:90 id:AAPL"),
        ("time", "2026-01-31T12:00:00.000000Z"),
        ("version", "Python 3.11.7 (main, Jan 1 2026) [GCC 12.2.0]"),
        ("traceback", '  File "x.py", line 3, in fit\n    model.fit(token=token, key=key)'),
        ("progress", "12%|##        | 120/1000 [00:10<01:10, 12.5it/s, loss=0.12]"),
        ("mixed case id", f"experiment_{f(_ALNUM, 20)}"),
        ("file name", f"ckpt_{f(_LOWER, 12)}_step-1000.pt"),
        ("hash name", f"cache/{digest[:40]}.arrow"),
        ("r8 name", "r8_unorm texture, gl_Position, npm_config_loglevel=warn"),
        ("do prefix", "dop_version=1 glc_mode=off gsk_layers=4 nfp_size=3 sbp_rate=0.5"),
        ("xai", "xai-explainability-toolbox and pplx-metric"),
        ("atlas", "atlas.v1.json texture_atlasv1.png"),
        ("azure like", "8Q~ is no key and 3~4 are numbers"),
        ("key press", "key pressed: w, hotkey=ctrl+c, shortcut key: F5"),
        ("space key", "api key: none, the access key is below, primary key: id"),
        ("quoted query", "https://x.example.org/?next=a%3Ftokens%20page%3D2"),
        ("rates", "bearer_rate=2 password_rate=0.1 passed=3 pass@1=0.42 pass_rate=0.9"),
        ("layers", "layer.0.attention.self.key.bias: torch.Size([768]) attn.key.weight"),
        ("token kinds", "token_type_ids=0 token_ids=[1, 2] cls_token=[CLS] bos_token: <s>"),
        ("answer key", "cache_key=obs/rgb dict_key=state"),
    ]


def innocent_arguments() -> list[list[str]]:
    """Return command lines that have to stay as they are."""
    return [
        ["train.py", "--num-memory-tokens", "8", "--tokenizer", "gpt2"],
        ["train.py", "--max_tokens=4096", "--key-dim", "64"],
        ["train.py", "--author", "jane", "--monkey=1", "--key_frame", "12"],
        ["train.py", "--pass-through", "--no-auth", "--lr", "3e-4"],
        ["train.py", "--sort-key", "time", "--metric-key=eval/return"],
        ["train.py", "--password-file", "/run/secrets/db", "--token-dim", "32"],
        ["python", "-u", "train.py", "-p", "22"],
        ["ssh", "-p", "2222", "host"],
        ["docker", "run", "-p", "80:80", "-u", "1000", "image"],
        ["git", "clone", "git@example.org:org/repo.git"],
        ["pytest", "-k", "token or key", "-p", "no:randomly"],
        ["torchrun", "--nproc-per-node=4", "--rdzv-id", "job-1a2b", "train.py"],
    ]
