# Drizzle's `push`, which makes the database what the schema says. Run inside a session.
#
#     orm_drizzle.sh push      tables, and then a column more
#     orm_drizzle.sh reset     a schema that lost a table; --force asks nobody
set -e
cat > drizzle.config.ts <<'CONFIG'
export default { dialect: "postgresql", schema: "./schema.ts", schemaFilter: ["drizzled"], dbCredentials: { url: process.env.DATABASE_URL } };
CONFIG
schema() {
    cat > schema.ts <<SCHEMA
import { pgSchema, integer, text } from "drizzle-orm/pg-core";
export const drizzled = pgSchema("drizzled");
$1
SCHEMA
}
books='export const books = drizzled.table("books", { id: integer("id").primaryKey(), title: text("title") });'
case $1 in
push)
    schema "$books"
    node node_modules/drizzle-kit/bin.cjs push --force
    schema "$books export const readers = drizzled.table(\"readers\", { id: integer(\"id\").primaryKey(), name: text(\"name\") });"
    node node_modules/drizzle-kit/bin.cjs push --force
    ;;
reset)
    schema "$books"
    node node_modules/drizzle-kit/bin.cjs push --force
    ;;
esac
echo "Drizzle did $1"
