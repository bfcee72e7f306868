package testpostgres

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestServerKeepsItsDatabases(t *testing.T) {
	s := Start(t)
	dsn := s.Database(t)
	ask := func(query string) (n int) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	ask("WITH made AS (SELECT 1) SELECT * FROM made")
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "CREATE TABLE numbers AS SELECT 7 AS n"); err != nil {
		t.Fatal(err)
	}
	s.Stop(t)
	if conn.Ping(t.Context()) == nil {
		t.Error("a connection outlives its server")
	}
	s.Restart(t)
	if n := ask("SELECT n FROM numbers"); n != 7 {
		t.Errorf("%d, want 7", n)
	}
}
