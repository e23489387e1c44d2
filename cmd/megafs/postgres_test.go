package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPostgres makes a database cluster, with checksums, on the mount, as the user of its own that PostgreSQL asks for, lets several clients work with it, ends the server as a
// power cut would, and finds it whole after a remount.
func TestPostgres(t *testing.T) {
	asRoot(t)
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
	if len(found) == 0 {
		t.Skip("needs PostgreSQL")
	}
	m := newMachine(t)
	for _, d := range []string{filepath.Dir(m.home), m.home} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.env = append(m.env, "PATH="+filepath.Dir(found[len(found)-1])+":"+os.Getenv("PATH"), "LC_ALL=C", "PGHOST=/tmp", "PGPORT=54329", "PGUSER=postgres")
	m.mount("--allow-other")
	const as = `as() { setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/tmp "$@"; }; cd /; D=$M/pg
		start() { as pg_ctl -s -w -D $D -l $D/log -o "-k /tmp -p 54329 -c listen_addresses= -c full_page_writes=on" start || { cat $D/log; exit 1; }; };
		stop() { as pg_ctl -s -w -D $D -m $1 stop; }; trap 'stop immediate 2>/dev/null || true' EXIT
		`
	m.sh(as + `mkdir $D; chown 65534:65534 $D; chmod 700 $D; as initdb -k -U postgres -A trust -D $D >/dev/null; start
		as pgbench -q -i -s 2 postgres 2>/dev/null; as pgbench -n -c 6 -j 2 -t 100 postgres >/dev/null 2>&1
		as psql -qAt -c checkpoint -c 'create index on pgbench_accounts(abalance)' -c 'vacuum full pgbench_tellers' postgres
		as pgbench -n -c 6 -j 2 -t 50 postgres >/dev/null 2>&1
		stop immediate; start; stop fast; as pg_checksums --check -D $D | grep 'Bad checksums:  0' >/dev/null`)
	m.umount()
	m.mount("--allow-other")
	if got := m.sh(as + `as pg_checksums --check -D $D >/dev/null; start
		as psql -qAt -c 'select count(*), (select count(*) from pgbench_history), sum(abalance) = (select sum(delta) from pgbench_history) from pgbench_accounts' postgres; stop fast`); got != "200000|900|t\n" {
		t.Errorf("%q", got)
	}
	m.umount()
}
