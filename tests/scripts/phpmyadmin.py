"""Uses a phpMyAdmin as somebody does: log in, run statements, browse, edit, export, import, and look around.

Arguments: the base address, the account, its password, and an empty database. Any surprise ends it.
"""

import difflib
import hashlib
import html.parser
import json
import re
import sys
import time

from phpmyadmin_pages import found, log_in, open_page

_BASE, USER, PASSWORD, DATABASE = sys.argv[1:]


def run(sql, database=DATABASE):
    answer = json.loads(open_page("/import", {"db": database, "sql_query": sql, "sql_delimiter": ";", "ajax_request": "true"}))
    assert answer["success"], answer
    return answer["message"]


class Form(html.parser.HTMLParser):
    """The fields of the form with that name, as they are before anybody touches them."""

    def __init__(self, form):
        super().__init__()
        self.form, self.inside, self.select, self.fields = form, False, None, {}

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "form":
            self.inside = attributes.get("name") == self.form
        name, value = attributes.get("name"), attributes.get("value") or ""
        if not self.inside:
            return
        if tag == "select":
            self.select = name
        elif tag == "option" and self.select and ("selected" in attributes or self.select not in self.fields):
            self.fields[self.select] = [value]
        elif tag == "input" and name and (attributes.get("type") not in ("checkbox", "radio") or "checked" in attributes):
            self.fields.setdefault(name, []).append(value)


log_in(USER, PASSWORD)
print("logged in")

run("CREATE TABLE birds (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) NOT NULL, seen DATETIME, photo BLOB);"
    "INSERT INTO birds (name, seen, photo) VALUES ('heron', NOW(), x'00ff27'), ('größer als 🐦', NULL, NULL);"
    "CREATE VIEW herons AS SELECT * FROM birds WHERE name = 'heron'")
page = open_page(f"/sql&db={DATABASE}&table=birds&pos=0")
assert "heron" in page and "größer als 🐦" in page and "Showing rows 0 -  1 (2 total" in page, page
print("made a table and browsed it")

# A form names its columns by the MD5 of their names.
name = hashlib.md5(b"name").hexdigest()
fields = {"db": DATABASE, "table": "birds", "where_clause[0]": "`birds`.`id` = 1", "clause_is_unique": "1", "submit_type": "save",
          "after_insert": "back", "ajax_request": "true", "ajax_page_request": "true"}
for kind, value in (("fields_name", "name"), ("fields", "egret"), ("fields_prev", "heron"), ("fields_type", "varchar")):
    fields[f"{kind}[multi_edit][0][{name}]"] = value
assert json.loads(open_page("/table/replace", fields))["success"]


def eventually(read, holds):
    """What another session wrote is read as soon as the standby has it: reads again, for 20 s at most."""
    deadline = time.monotonic() + 20
    while not holds(read()):
        assert time.monotonic() < deadline, read()
        time.sleep(0.05)


eventually(lambda: open_page(f"/sql&db={DATABASE}&table=birds&pos=0"), lambda page: "egret" in page)
print("edited a row")


def export():
    form = Form("dump")
    form.feed(open_page(f"/database/export&db={DATABASE}"))
    return open_page("/export", form.fields | {"what": "sql", "output_format": "sendit"})


dump = export()
assert "CREATE TABLE `birds`" in dump and "egret" in dump and "größer als 🐦" in dump and "0x00ff27" in dump, dump
run("DROP VIEW herons; DROP TABLE birds")
page = open_page("/import", {"db": DATABASE, "import_type": "database", "format": "sql", "charset_of_file": "utf-8",
                             "sql_compatibility": "NONE", "skip_queries": "0", "allow_interrupt": "yes"}, file=dump)
assert "Import has been successfully finished" in page, page


def without_dates(dump):
    # Each server has an AUTO_INCREMENT of its own, which MySQL may have cached as none, and either may answer.
    dump = re.sub(r",? ?AUTO_INCREMENT=\d+", "", dump)
    # It asks for a view's columns in no order, and MySQL's servers give them in one or another.
    dump = re.sub(r"(?<=CREATE TABLE `herons` \()[^;]*", lambda columns: "\n".join(sorted(re.split(r"[,\n]+", columns[0]))), dump)
    return [line for line in dump.splitlines() if not line.startswith("-- Generation Time")]


def difference(again):
    return "\n".join(difflib.unified_diff(without_dates(dump), without_dates(again), lineterm=""))


eventually(lambda: difference(export()), lambda differs: not differs)
print("exported, imported and exported again: the same")

for route in (f"/database/structure&db={DATABASE}", f"/table/structure&db={DATABASE}&table=birds", "/server/databases",
              "/server/status", "/server/status/processes", "/server/variables", "/server/collations", "/server/engines",
              "/server/privileges", f"/table/search&db={DATABASE}&table=birds", f"/database/search&db={DATABASE}",
              f"/table/operations&db={DATABASE}&table=birds", f"/database/routines&db={DATABASE}", "/server/sql"):
    open_page(route)
page = open_page("/database/search", {"db": DATABASE, "criteriaSearchString": "egret", "criteriaSearchType": "1",
                                      "criteriaTables[]": "birds", "submit_search": "Go"})
assert "1 match" in page, page
page = open_page("/sql&db=" + DATABASE, {"sql_query": "EXPLAIN SELECT * FROM birds WHERE id = 1", "db": DATABASE})
# MySQL 9 explains as a tree.
assert "possible_keys" in page or "Rows fetched before execution" in page, page
print("looked around and searched")
