"""phpMyAdmin on the admin port: log in, list, describe, browse and query its tables.

Arguments: the base address, the account and its password. Any surprise ends it.
"""

import json
import sys

from phpmyadmin_pages import log_in, open_page

_BASE, USER, PASSWORD = sys.argv[1:]

log_in(USER, PASSWORD)
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
