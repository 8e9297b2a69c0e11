"""Clients and proxies of others: Java's own client, curl that offers HTTP/2, and nginx with the headers of WebSockets."""

import json
import os
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import httpx2
import pytest
from gallery import GENTOO, Gallery
from processes import free_port
from rawhttp import at, receive

ROW = json.dumps({"rows": [GENTOO]})

JAVA = """
import java.net.URI;
import java.net.http.*;
import java.util.concurrent.*;
import java.util.stream.*;

public class Ask {
    public static void main(String[] arguments) throws Exception {
        var client = HttpClient.newHttpClient();
        var body = arguments[1];
        int asked = Integer.parseInt(arguments[2]);
        var pool = Executors.newFixedThreadPool(4);
        var answers = new ConcurrentHashMap<String, Integer>();
        for (int number = 0; number < asked; number++) pool.submit(() -> {
            try {
                var request = HttpRequest.newBuilder(URI.create(arguments[0] + "/predict?model=penguins"))
                    .header("Content-Type", "application/json").POST(HttpRequest.BodyPublishers.ofString(body)).build();
                var response = client.send(request, HttpResponse.BodyHandlers.ofString());
                answers.merge(response.statusCode() + " " + response.body(), 1, Integer::sum);
            } catch (Exception exception) {
                answers.merge(exception.toString(), 1, Integer::sum);
            }
        });
        pool.shutdown();
        pool.awaitTermination(100, TimeUnit.SECONDS);
        answers.forEach((answer, count) -> System.out.println(count + " " + answer));
    }
}
"""

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream api {{ server {api}; keepalive 4; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://api;
      proxy_http_version 1.1;
      proxy_set_header Host localhost;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
    }}
    location = /metrics {{ return 403; }}
  }}
}}
"""


def program(name: str) -> str:
    """Return the path of a program; skip the test where there is none, and say so."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.skip(f"MISSING: {name}")
    return found


@pytest.mark.sweep
def test_java_predicts_with_its_own_client(gallery: Gallery, tmp_path: Path) -> None:
    """The default client of the JDK, which offers to upgrade with every request, gets the right answer to each."""
    java = program("java")
    if not shutil.which("javac"):
        pytest.skip("MISSING: javac, without which java runs no source")
    (tmp_path / "Ask.java").write_text(JAVA)

    command = [java, "-Xshare:auto", str(tmp_path / "Ask.java"), gallery.api.url, ROW, "200"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)

    count, status, answer = done.stdout.rstrip("\n").split(" ", 2)
    assert (count, status) == ("200", "200"), done.stdout[:2000]
    assert json.loads(answer) == gallery.predict([GENTOO]).json()


@pytest.mark.parametrize("size", [1, 400])
def test_curl_predicts_when_it_offers_http_2(gallery: Gallery, size: int) -> None:
    """`curl --http2`, with a body in one segment and in several."""
    rows = [GENTOO] * size
    command = [program("curl"), "--silent", "--http2", "-H", "Content-Type: application/json", "--data-binary", "@-"]

    done = subprocess.run(
        [*command, f"{gallery.api.url}/predict?model=penguins"],
        input=json.dumps({"rows": rows}).encode(),
        capture_output=True,
        timeout=60,
        check=True,
    )

    assert json.loads(done.stdout) == gallery.predict(rows).json()


@contextmanager
def nginx(api_url: str, folder: Path) -> Iterator[int]:
    """Run nginx before the API, as a proxy that passes WebSockets on and keeps its connections; yield its port."""
    port = free_port()
    folder.chmod(0o777)
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=folder, api=api_url.removeprefix("http://"), port=port))
    command = [program("nginx"), "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(configuration)]
    with subprocess.Popen(command, env={**os.environ, "LC_ALL": "C"}) as process:
        try:
            with httpx2.Client(transport=httpx2.HTTPTransport(retries=8)) as client:
                client.get(f"http://127.0.0.1:{port}/healthz").raise_for_status()
            yield port
        finally:
            process.terminate()


HIDDEN = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
OFFERS = ("Upgrade: h2c", "Upgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13", "Upgrade: x, y")


def attack(port: int, done: threading.Event, counts: Counter[str], random: Random) -> None:
    """Send requests that hide another one in their body, and offer an upgrade."""
    while not done.is_set():
        body = HIDDEN * random.randrange(1, 4)
        length = f"Content-Length: {len(body)}"
        if random.random() < 0.3:
            body, length = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), "Transfer-Encoding: chunked"
        lines = ["POST /predict?model=penguins HTTP/1.1", "Host: localhost", random.choice(OFFERS), length]
        head = "\r\n".join([*lines, "Connection: Upgrade", "Content-Type: application/json", "", ""]).encode()
        with at("127.0.0.1", port) as connection:
            connection.sendall(head + body)
            for status, _, _ in receive(connection, 1):
                counts[f"attacker {status}"] += 1


@pytest.mark.sweep
def test_behind_nginx_no_client_gets_the_answer_of_another(gallery: Gallery, tmp_path: Path) -> None:
    """Of 5 000 requests with attackers among them each gets its own answer, and no rule of the proxy is walked around."""
    counts: Counter[str] = Counter()
    done = threading.Event()
    right = gallery.predict([GENTOO]).json()

    def ask(port: int, number: int) -> None:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            for place in range(1250):
                if place % 2:
                    name = ("penguins", "texts", "kinds")[(place + number) % 3]
                    answer = client.get(f"/models/{name}").json().get("name") == name
                else:
                    answer = client.post("/predict?model=penguins", json={"rows": [GENTOO]}).json() == right
                counts["right" if answer else "wrong"] += 1

    with nginx(gallery.api.url, tmp_path) as port:
        attackers = [threading.Thread(target=attack, args=(port, done, counts, Random(seed))) for seed in range(4)]
        clients = [threading.Thread(target=ask, args=(port, number)) for number in range(4)]
        for thread in (*attackers, *clients):
            thread.start()
        for thread in clients:
            thread.join()
        done.set()
        for thread in attackers:
            thread.join()

    assert counts["right"] == 5000, counts
    assert counts["wrong"] == 0
    assert counts["attacker 400"] > 100, counts
    assert {name for name in counts if name.startswith("attacker")} == {"attacker 400"}, counts


def test_behind_nginx_each_gets_its_own_answer(gallery: Gallery, tmp_path: Path) -> None:
    """The same in small: after each attack the next request on the shared connection gets its own answer."""
    counts: Counter[str] = Counter()
    right = gallery.predict([GENTOO]).json()
    with nginx(gallery.api.url, tmp_path) as port, httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for seed in range(20):
            done = threading.Event()
            attacker = threading.Thread(target=attack, args=(port, done, counts, Random(seed)))
            attacker.start()
            answers = [client.post("/predict?model=penguins", json={"rows": [GENTOO]}).json() for _ in range(3)]
            done.set()
            attacker.join()
            assert answers == [right] * 3
        assert client.get("/metrics").status_code == 403

    assert set(counts) == {"attacker 400"}
