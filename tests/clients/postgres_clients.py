"""The usual clients of PostgreSQL for Python, each with nothing but DATABASE_URL: an everyday migration,
writes, reads with parameters, copying, cursors, transactions that fail. Prints a line for each."""

import asyncio
import io
import os

import asyncpg
import psycopg
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

URL = os.environ["DATABASE_URL"]


async def with_asyncpg():
    connection = await asyncpg.connect(URL)
    await connection.execute("CREATE TABLE IF NOT EXISTS a (id serial PRIMARY KEY, n int, t text, j jsonb)")
    await connection.executemany("INSERT INTO a (n, t) VALUES ($1, $2)", [(n, "x" * n) for n in range(100)])
    rows = await connection.fetch("SELECT * FROM a WHERE n = ANY($1::int[]) ORDER BY id", [1, 2, 3])
    assert [row["t"] for row in rows] == ["x", "xx", "xxx"], rows
    async with connection.transaction():
        async for row in connection.cursor("SELECT n FROM a ORDER BY n", prefetch=10):
            last = row["n"]
    assert last == 99
    try:
        async with connection.transaction():
            await connection.execute("INSERT INTO a (n) VALUES (1000)")
            await connection.execute("SELECT 1/0")
    except asyncpg.DivisionByZeroError:
        pass
    assert await connection.fetchval("SELECT count(*) FROM a WHERE n = 1000") == 0
    await connection.copy_records_to_table("a", records=[(n, "c") for n in range(50)], columns=["n", "t"])
    assert await connection.fetchval("SELECT count(*) FROM a WHERE t = 'c'") == 50
    await connection.execute("UPDATE a SET t = 'y' WHERE id = $1", 1)
    await connection.close()
    pool = await asyncpg.create_pool(URL, min_size=2, max_size=4)
    values = await asyncio.gather(*(pool.fetchval("SELECT $1::int", n) for n in range(20)))
    assert values == list(range(20))
    await pool.close()
    print("asyncpg works")


def with_psycopg():
    with psycopg.connect(URL) as connection:
        connection.execute("CREATE TABLE b (id int PRIMARY KEY, t text)")
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO b VALUES (%s, %s)", [(n, str(n)) for n in range(30)])
            with cursor.copy("COPY b FROM STDIN") as copy:
                for n in range(30, 60):
                    copy.write_row((n, None))
            for n in range(12):
                assert cursor.execute("SELECT t FROM b WHERE id = %s", (n,)).fetchone() == (str(n),)
        with connection.cursor(name="served") as cursor:
            cursor.execute("SELECT id FROM b ORDER BY id")
            assert len(cursor.fetchmany(7)) == 7
        out = io.BytesIO()
        with connection.cursor().copy("COPY b TO STDOUT") as copy:
            for data in copy:
                out.write(data)
        assert out.getvalue().count(b"\n") == 60
    with psycopg.connect(URL, autocommit=True) as connection:
        with connection.pipeline():
            found = [connection.execute("SELECT %s::int", (n,)) for n in range(10)]
        assert [cursor.fetchone()[0] for cursor in found] == list(range(10))
        connection.execute("CREATE INDEX CONCURRENTLY b_t ON b (t)")
    print("psycopg works")


def with_sqlalchemy():
    engine = sqlalchemy.create_engine(URL.replace("postgres://", "postgresql+psycopg://"))
    metadata = sqlalchemy.MetaData()
    people = sqlalchemy.Table(
        "c", metadata,
        sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True),
        sqlalchemy.Column("name", sqlalchemy.String(50), index=True),
    )
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(people.insert(), [{"name": f"n{n}"} for n in range(20)])
        connection.execute(people.update().where(people.c.id == 3).values(name="changed"))
    with engine.connect() as connection:
        found = connection.execute(sqlalchemy.select(people.c.name).where(people.c.id == 3)).scalar()
        assert found == "changed"
    inspector = sqlalchemy.inspect(engine)
    assert "c" in inspector.get_table_names()
    assert [column["name"] for column in inspector.get_columns("c")] == ["id", "name"]
    engine.dispose()

    async def asynchronous():
        # It takes no sslmode, and then tries TLS first.
        url = URL.split("?")[0].replace("postgres://", "postgresql+asyncpg://")
        engine = create_async_engine(url)
        async with engine.connect() as connection:
            assert (await connection.execute(sqlalchemy.text("SELECT 1"))).scalar() == 1
        await engine.dispose()

    asyncio.run(asynchronous())
    print("SQLAlchemy works")


asyncio.run(with_asyncpg())
with_psycopg()
with_sqlalchemy()
