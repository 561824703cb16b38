"""Walks through PyMySQL; what it prints must not depend on whether Tandem stands between."""

import os
import pymysql
import pymysql.cursors

env = os.environ


def connect(**more):
    options = dict(host=env["TANDEM_HOST"], port=int(env["TANDEM_PORT"]), user=env["TANDEM_USER"],
                   password=env["TANDEM_PASSWORD"], database=env["TANDEM_SCHEMA"])
    options.update(more)
    return pymysql.connect(**options)


def ask(db, query, args=None):
    with db.cursor() as cursor:
        count = cursor.execute(query, args)
        return count, cursor.fetchall()


def fails(what, do):
    try:
        do()
        print(what, "no error")
    except pymysql.MySQLError as error:
        print(what, type(error).__name__, error.args)


db = connect(charset="utf8mb4")
print(db.get_server_info(), db.get_autocommit(), db.character_set_name())
print(ask(db, "SELECT @@autocommit, @@collation_connection, DATABASE()"))
print(ask(db, "SELECT id, v FROM x WHERE v IN (%s, %s) ORDER BY id", ("a", "b")))
with db.cursor() as cursor:
    print(cursor.executemany("INSERT INTO x (v, n) VALUES (%s, %s)", [("m", i) for i in range(20)]), cursor.lastrowid)
db.rollback()
print(ask(db, "SELECT COUNT(*) FROM x WHERE v = 'm'"))
with db.cursor() as cursor:
    cursor.execute("INSERT INTO x (v) VALUES (%s)", ("committed é",))
    print(cursor.lastrowid)
db.commit()
with db.cursor() as cursor:
    cursor.callproc("two")
    print(cursor.fetchall())
    while cursor.nextset():
        print(cursor.fetchall())
with connect(cursorclass=pymysql.cursors.SSCursor) as other, other.cursor() as cursor:
    cursor.execute("SELECT id FROM many ORDER BY id")
    print(sum(row[0] for row in cursor))
with connect(cursorclass=pymysql.cursors.DictCursor, charset="latin1", autocommit=True) as other:
    print(ask(other, "SELECT v, @@character_set_client AS c FROM x WHERE v LIKE 'committed%'"))
    other.select_db("information_schema")
    print(ask(other, "SELECT DATABASE() AS d"))
with connect(init_command="SET time_zone = '+01:00'", sql_mode="ANSI_QUOTES", client_flag=2) as other:
    print(ask(other, 'SELECT @@time_zone, @@sql_mode, "v" FROM "x" WHERE id = 1'))
    with other.cursor() as cursor:
        # CLIENT.FOUND_ROWS: rows matched count, not rows changed.
        print(cursor.execute("UPDATE x SET v = v"))
db.ping(reconnect=False)
fails("unknown table", lambda: ask(db, "SELECT * FROM nope"))
fails("syntax", lambda: ask(db, "SELEC"))
fails("wrong password", lambda: connect(password="wrong"))
fails("unknown schema", lambda: connect(database="no_such_schema"))
db.close()
