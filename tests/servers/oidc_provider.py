"""oidc-provider, the certified OpenID provider of npm, in a process of its own: `make test-browser` installs it by its lock."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

FOLDER = Path(__file__).parent / "oidc"
CALLBACK = "http://127.0.0.1:9/callback"
MAKERS = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "PS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": lambda: ed25519.Ed25519PrivateKey.generate(),
}


def new_key(kid: str, algorithm: str = "RS256") -> dict[str, Any]:
    """A private key as the provider keeps it."""
    jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(MAKERS[algorithm](), as_dict=True)
    jwk.pop("key_ops", None)
    return {**jwk, "kid": kid, "alg": algorithm, "use": "sig"}


class OidcProvider:
    """One provider; it can be ended and started again at the same address with other keys."""

    def __init__(self, *, audience: str, groups: dict[str, list[str]], algorithm: str = "RS256") -> None:
        self._told: dict[str, Any] = {"port": 0, "audience": audience, "groups": groups, "algorithm": algorithm}
        self._process: subprocess.Popen[str] | None = None
        self.issuer = ""

    @property
    def port(self) -> int:
        return int(self._told["port"])

    def start(self, *keys: dict[str, Any]) -> OidcProvider:
        node = shutil.which("node")
        assert node is not None and (FOLDER / "node_modules").exists(), "make test-browser installs node and oidc-provider"
        self._process = subprocess.Popen(
            [node, "provider.mjs"],
            cwd=FOLDER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({**self._told, "keys": list(keys)}) + "\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        assert said, "oidc-provider does not start"
        self.issuer = json.loads(said)["issuer"]
        self._told["port"] = urlsplit(self.issuer).port
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                pipe.close()
            self._process = None

    def sign_in(self, name: str) -> dict[str, str]:
        """The authorization code flow with PKCE, as a browser goes through it; the tokens at its end."""
        verifier = "v" * 43
        asked = {
            "client_id": "web",
            "response_type": "code",
            "scope": "openid profile images/read",
            "redirect_uri": CALLBACK,
            "code_challenge": jwt.utils.base64url_encode(_sha256(verifier)).decode(),
            "code_challenge_method": "S256",
        }
        with httpx.Client(timeout=60) as browser:
            answer = browser.get(f"{self.issuer}/auth", params=asked)
            for _ in range(12):
                if answer.is_redirect:
                    where = urljoin(str(answer.url), answer.headers["location"])
                    if where.startswith(CALLBACK):
                        assert "code=" in where, where
                        return self._exchanged(browser, parse_qs(urlsplit(where).query)["code"][0], verifier)
                    answer = browser.get(where)
                    continue
                action = re.search(r'<form[^>]+action="([^"]+)"', answer.text)
                prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
                assert action and prompt, answer.text
                form = {"prompt": prompt[1], "login": name, "password": "any"}
                answer = browser.post(urljoin(str(answer.url), action[1]), data=form)
        raise AssertionError("the sign-in does not end")

    def machine_token(self) -> str:
        """An access token of the client itself."""
        answer = httpx.post(
            f"{self.issuer}/token", auth=("web", "a-secret-of-the-tests"), data={"grant_type": "client_credentials"}, timeout=60
        )
        return str(answer.raise_for_status().json()["access_token"])

    def _exchanged(self, browser: httpx.Client, code: str, verifier: str) -> dict[str, str]:
        answer = browser.post(
            f"{self.issuer}/token",
            auth=("web", "a-secret-of-the-tests"),
            data={"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": verifier},
        )
        assert answer.status_code == 200, answer.text
        return answer.json()


def _sha256(text: str) -> bytes:
    import hashlib

    return hashlib.sha256(text.encode()).digest()
