"""PyMySQL on the admin port: arguments are the host, the port, the account and its password. Any surprise ends it."""

import sys

import pymysql

host, port, user, password = sys.argv[1:]
conn = pymysql.connect(host=host, port=int(port), user=user, password=password, database="tandem")
with conn.cursor() as cursor:
    cursor.execute("SHOW TABLES")
    assert ("servers",) in cursor.fetchall()
    cursor.execute("DESCRIBE servers")
    assert cursor.fetchone()[0] == "name"
    cursor.execute("SELECT name, weight FROM servers WHERE name LIKE %s AND weight >= %s", ("A", 1))
    assert cursor.fetchall() == (("a", 1),), cursor.fetchall()
    cursor.execute("SELECT %s, COUNT(*) FROM servers", ("it's \\ \"a\" \n é",))
    assert cursor.fetchone() == ("it's \\ \"a\" \n é", 2)
    try:
        cursor.execute("DROP TABLE servers")
        raise AssertionError("dropped")
    except pymysql.err.ProgrammingError as refused:
        assert refused.args[0] == 1064, refused
    cursor.execute("SELECT what, outcome FROM audit")
conn.close()
print("done")
