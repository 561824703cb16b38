"""phpMyAdmin on the admin port: log in, list, describe, browse and query its tables.

Arguments: the base address, the account and its password. Any surprise ends it.
"""

import http.cookiejar
import json
import re
import sys
import urllib.parse
import urllib.request

BASE, USER, PASSWORD = sys.argv[1:]

opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
token = None


def open_page(route, fields=None):
    body = fields and urllib.parse.urlencode(fields | {"token": token}).encode()
    with opener.open(urllib.request.Request(f"{BASE}/index.php?route={route}", body), timeout=60) as answer:
        page = answer.read().decode()
    for trouble in ("Fatal error", "mysqli::", "MySQL said", "<code>#"):
        assert trouble not in page, (route, trouble, page[max(0, page.find(trouble) - 500):][:3000])
    return page


def found(pattern, page):
    match = re.search(pattern, page)
    assert match, (pattern, page[:3000])
    return match.group(1)


page = open_page("/")
token = found(r'name="token" value="([0-9a-f]+)"', page)
page = open_page("/", {"pma_username": USER, "pma_password": PASSWORD, "server": "1",
                       "set_session": found(r'name="set_session" value="(\w+)"', page)})
token = found(r'token:"([0-9a-f]+)"', page)
assert "Log out" in page, page[:3000]
open_page("/")
assert "tandem" in open_page("/server/databases")
page = open_page("/database/structure&db=tandem")
assert "servers" in page and "sessions" in page, page
page = open_page("/table/structure&db=tandem&table=servers")
assert "address" in page and "lag_ms" in page, page
page = open_page("/sql&db=tandem&table=servers&pos=0")
assert "127.0.0.1" in page, page
answer = json.loads(open_page("/import", {"db": "tandem", "sql_query": "SELECT name AS who, role FROM servers WHERE role = 'active'",
                                          "sql_delimiter": ";", "ajax_request": "true"}))
assert answer["success"] and "who" in answer["message"], answer
print("done")
