"""The pages of the phpMyAdmin whose base address is the script's first argument. Any trouble on one of them ends the script."""

import http.cookiejar
import re
import sys
import urllib.parse
import urllib.request
import uuid

BASE = sys.argv[1]

opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
token = None


def open_page(route, fields=None, file=None):
    """A page, or with fields what a form answers; a token goes along."""
    address, body, headers = f"{BASE}/index.php?route={route}", None, {}
    if file is not None:
        boundary = uuid.uuid4().hex
        parts = [f'name="{name}"\r\n\r\n{value}' for name, value in (fields | {"token": token}).items()]
        parts.append(f'name="import_file"; filename="dump.sql"\r\nContent-Type: application/sql\r\n\r\n{file}')
        body = "".join(f"--{boundary}\r\nContent-Disposition: form-data; {part}\r\n" for part in parts)
        body = (body + f"--{boundary}--\r\n").encode()
        headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
    elif fields is not None:
        body = urllib.parse.urlencode(fields | {"token": token}, doseq=True).encode()
    with opener.open(urllib.request.Request(address, body, headers), timeout=60) as answer:
        page = answer.read().decode()
    for trouble in ("Fatal error", "mysqli::", "MySQL said", "Connection for controluser", "<code>#"):
        assert trouble not in page, (route, trouble, page[max(0, page.find(trouble) - 500):][:3000])
    return page


def found(pattern, page):
    match = re.search(pattern, page)
    assert match, (pattern, page[:3000])
    return match.group(1)


def log_in(user, password):
    global token
    page = open_page("/")
    token = found(r'name="token" value="([0-9a-f]+)"', page)
    page = open_page("/", {"pma_username": user, "pma_password": password, "server": "1",
                           "set_session": found(r'name="set_session" value="(\w+)"', page)})
    token = found(r'token:"([0-9a-f]+)"', page)
    assert "Log out" in page, page[:3000]
