CREATE TABLE labels (
    content BLOB NOT NULL CHECK (length(content) = 32),
    classifier TEXT NOT NULL,
    entities TEXT NOT NULL,
    topics TEXT NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (content, classifier)
) STRICT, WITHOUT ROWID;
CREATE INDEX labels_by_age ON labels (seen);

CREATE TABLE documents (
    md5 BLOB NOT NULL CHECK (length(md5) = 16),
    content BLOB NOT NULL CHECK (length(content) = 32),
    application TEXT NOT NULL,
    path TEXT NOT NULL,
    readers TEXT NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (md5, content, application, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX documents_by_age ON documents (seen);

CREATE TABLE releases (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time INTEGER NOT NULL,
    channel TEXT NOT NULL,
    user TEXT NOT NULL,
    content BLOB NOT NULL,
    labels TEXT NOT NULL,
    allowed INTEGER NOT NULL,
    policies TEXT NOT NULL
) STRICT;

CREATE TABLE applications (
    name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('loader', 'retrieval')),
    owner TEXT NOT NULL,
    description TEXT NOT NULL,
    details TEXT NOT NULL,
    created INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (name, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE loads (
    id INTEGER PRIMARY KEY,
    application TEXT NOT NULL,
    load TEXT NOT NULL,
    details TEXT NOT NULL,
    started INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    ended INTEGER,
    UNIQUE (application, load)
) STRICT;

CREATE TABLE sources (
    load INTEGER NOT NULL REFERENCES loads (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    owner TEXT NOT NULL,
    size INTEGER NOT NULL,
    readers TEXT NOT NULL,
    loader TEXT NOT NULL,
    loader_path TEXT NOT NULL,
    loader_type TEXT NOT NULL,
    loader_size INTEGER NOT NULL,
    documents INTEGER NOT NULL,
    PRIMARY KEY (load, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE findings (
    load INTEGER NOT NULL REFERENCES loads (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    label TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('entities', 'topics')),
    count INTEGER NOT NULL,
    snippets INTEGER NOT NULL,
    PRIMARY KEY (load, path, kind, label)
) STRICT, WITHOUT ROWID;

CREATE TABLE snippets (
    load INTEGER NOT NULL REFERENCES loads (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    path TEXT NOT NULL,
    text TEXT NOT NULL,
    entities TEXT NOT NULL,
    topics TEXT NOT NULL,
    PRIMARY KEY (load, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE retrievals (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    application TEXT NOT NULL,
    time INTEGER NOT NULL,
    prompt_time TEXT NOT NULL,
    user TEXT NOT NULL,
    identities TEXT NOT NULL,
    prompt TEXT NOT NULL,
    response TEXT NOT NULL,
    context TEXT NOT NULL,
    prompt_findings TEXT NOT NULL,
    response_findings TEXT NOT NULL
) STRICT;
CREATE INDEX retrievals_of_application ON retrievals (application, id);
