"""The usual clients of MySQL for Python, each with nothing but DATABASE_URL: an everyday migration, writes,
reads with values, cursors, transactions that fail, several statements. Prints a line for each."""

import os
from urllib.parse import unquote, urlsplit

import mysql.connector
import pymysql
import sqlalchemy

URL = os.environ["DATABASE_URL"]
parts = urlsplit(URL)
LOGIN = {
    "host": parts.hostname,
    "port": parts.port,
    "user": unquote(parts.username),
    "password": unquote(parts.password),
    "database": parts.path[1:],
}


def with_pymysql():
    connection = pymysql.connect(**LOGIN)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE a (id int AUTO_INCREMENT PRIMARY KEY, n int, t text, b longblob)")
        cursor.executemany("INSERT INTO a (n, t) VALUES (%s, %s)", [(n, "é'\\" * n) for n in range(100)])
        connection.commit()
        cursor.execute("SELECT t FROM a WHERE n IN %s ORDER BY id", ((1, 2),))
        assert cursor.fetchall() == (("é'\\",), ("é'\\é'\\",))
        cursor.execute("INSERT INTO a (n, b) VALUES (1000, x'00ff')")
        connection.rollback()
        cursor.execute("SELECT count(*) FROM a WHERE n = 1000")
        assert cursor.fetchone() == (0,)
        try:
            cursor.execute("SELECT nothing FROM a")
            raise AssertionError("it ran")
        except pymysql.err.OperationalError as error:
            assert error.args[0] == 1054, error
        # A row of more than one packet.
        cursor.execute("SELECT REPEAT('x', 1 + (16 << 20)), 7")
        long, seven = cursor.fetchone()
        assert (len(long), seven) == (1 + (16 << 20), 7)
    connection.ping()
    connection.close()
    several = pymysql.connect(**LOGIN, client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS)
    with several.cursor() as cursor:
        cursor.execute("SELECT 1; INSERT INTO a (n) VALUES (7); SELECT 2")
        assert cursor.fetchall() == ((1,),)
        assert cursor.nextset() and cursor.nextset()
        assert cursor.fetchall() == ((2,),)
    several.close()
    print("PyMySQL works")


def with_connector():
    connection = mysql.connector.connect(**LOGIN, use_pure=True)
    cursor = connection.cursor(prepared=True)
    for n in range(12):
        cursor.execute("SELECT n, t FROM a WHERE n = ? AND id > ?", (n, 0))
        assert len(cursor.fetchall()) >= 1
    cursor.execute("UPDATE a SET t = ? WHERE id = ?", ("changed", 1))
    connection.commit()
    cursor.close()
    connection.reset_session()
    cursor = connection.cursor()
    cursor.execute("SELECT t FROM a WHERE id = 1")
    assert cursor.fetchone() == ("changed",)
    connection.close()
    print("Connector/Python works")


def with_sqlalchemy():
    engine = sqlalchemy.create_engine(sqlalchemy.engine.make_url(URL).set(drivername="mysql+pymysql"))
    data = sqlalchemy.MetaData()
    table = sqlalchemy.Table(
        "c", data, sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True), sqlalchemy.Column("t", sqlalchemy.String(40))
    )
    data.create_all(engine)
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"t": f"t{n}"} for n in range(20)])
        connection.execute(table.update().where(table.c.id == 1).values(t="changed"))
        connection.execute(table.delete().where(table.c.id == 2))
    inspector = sqlalchemy.inspect(engine)
    assert {"a", "c", "people"} <= set(inspector.get_table_names())
    assert [column["name"] for column in inspector.get_columns("c")] == ["id", "t"]
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.select(table.c.t).where(table.c.id == 1)).scalar() == "changed"
    engine.dispose()
    print("SQLAlchemy works")


with_pymysql()
with_connector()
with_sqlalchemy()
