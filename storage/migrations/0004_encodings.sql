-- Vectors that tell a network which structure it is asked for; the newest of a name is in force.
CREATE TABLE encodings (
    name VARCHAR NOT NULL,
    vectors VARCHAR NOT NULL,
    card JSON NOT NULL,
    seq BIGINT NOT NULL,
    recorded_at TIMESTAMP NOT NULL
);

CREATE VIEW current_encodings AS
SELECT * FROM encodings
QUALIFY row_number() OVER (PARTITION BY name ORDER BY seq DESC) = 1;
