"""Django's own migrations and resets, with one module for project and app. Run inside a session.

    orm_django.py migrate     an everyday evolution of a schema
    orm_django.py flush       empties every table
"""

import os
import pathlib
import sys
import urllib.parse

import django
from django.conf import settings
from django.core.management import call_command

url = urllib.parse.urlsplit(os.environ["DATABASE_URL"])
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": url.path[1:],
            "USER": url.username,
            "PASSWORD": urllib.parse.unquote(url.password),
            "HOST": url.hostname,
            "PORT": url.port,
        }
    },
    INSTALLED_APPS=["shop"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)

first = """
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            "Order",
            [("id", models.BigAutoField(primary_key=True)), ("note", models.TextField(default=""))],
        ),
    ]
"""
second = """
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("shop", "0001_first")]
    operations = [
        migrations.AddField("Order", "paid", models.BooleanField(default=False)),
        AddIndexConcurrently("Order", models.Index(fields=["paid"], name="orders_paid")),
        migrations.CreateModel(
            "Item",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("order", models.ForeignKey("shop.Order", models.CASCADE)),
            ],
        ),
    ]
"""

app = pathlib.Path("shop")
(app / "migrations").mkdir(parents=True, exist_ok=True)
(app / "__init__.py").write_text("")
(app / "models.py").write_text(
    """
from django.db import models


class Order(models.Model):
    note = models.TextField(default="")
    paid = models.BooleanField(default=False)
"""
)
(app / "migrations/__init__.py").write_text("")
(app / "migrations/0001_first.py").write_text(first)
(app / "migrations/0002_second.py").write_text(second)
sys.path.insert(0, ".")
django.setup()
if sys.argv[1] == "migrate":
    call_command("migrate", verbosity=0)
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO shop_order (note, paid) VALUES (%s, %s) RETURNING id", ["a", False])
        (number,) = cursor.fetchone()
        cursor.execute("UPDATE shop_order SET paid = %s WHERE id = %s", [True, number])
        print("Django migrated", cursor.rowcount)
else:
    call_command("flush", interactive=False, verbosity=0)
    print("Django flushed")
