-- Sessions, events, and what was done to this schema. docs/formats/postgresql.md says what people may rely on.

CREATE TABLE migration (
    version integer PRIMARY KEY,
    file text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- A number is given once and never again, so that sessions sort by age and nobody reads the events of another one.
CREATE TABLE session (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id uuid NOT NULL UNIQUE
);

-- The line is the event; the other columns repeat a part of it. There is no foreign key: it would be looked up for every row,
-- and whoever writes events has locked their session for as long as it takes.
CREATE TABLE event (
    session bigint NOT NULL,
    sequence bigint NOT NULL,
    "timestamp" text COLLATE "C" NOT NULL,
    event_type text COLLATE "C" NOT NULL,
    event_hash text COLLATE "C" NOT NULL,
    line text COLLATE "C" NOT NULL,
    PRIMARY KEY (session, sequence)
);

-- Events come in the order of time, so that a few bytes per hundred pages find a day. It costs next to nothing to write.
CREATE INDEX event_timestamp ON event USING brin ("timestamp");

CREATE VIEW trace AS
    SELECT session_id, sequence, "timestamp", event_type, event_hash, line
    FROM event JOIN session ON session.number = event.session;
