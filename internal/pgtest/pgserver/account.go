//go:build unix

package pgserver

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// account is the user PostgreSQL runs as when that can't be ourselves. A nil account
// means ourselves.
type account struct {
	name     string
	uid, gid int
}

// serverAccount returns nil unless we are root: PostgreSQL refuses to run as root.
func serverAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil // nil is an account: our own
	}
	for _, name := range []string{"postgres", "nobody"} {
		if a, err := lookupAccount(name); err == nil {
			return a, nil
		}
	}
	return nil, errors.New("find an account for PostgreSQL: it refuses to run as root and neither user postgres nor nobody exists; run this as another user")
}

func lookupAccount(name string) (*account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, errUID := strconv.ParseUint(u.Uid, 10, 31)
	gid, errGID := strconv.ParseUint(u.Gid, 10, 31)
	return &account{name: name, uid: int(uid), gid: int(gid)}, errors.Join(errUID, errGID)
}

// mkdir makes a directory only the account can enter.
func (a *account) mkdir(path string) error { return a.own(path, os.MkdirAll(path, 0o700)) }

// writeFile makes a file that only the account and root read.
func (a *account) writeFile(path, text string) error {
	return a.own(path, os.WriteFile(path, []byte(text), 0o600))
}

// own gives the account what was just made.
func (a *account) own(path string, err error) error {
	if err == nil && a != nil {
		err = os.Chown(path, a.uid, a.gid)
	}
	if err != nil {
		return fmt.Errorf("make the server's files for %s: %w", a, err)
	}
	return nil
}

func (a *account) String() string {
	if a == nil {
		return "this user"
	}
	return "user " + a.name
}

func credential(a *account) *syscall.Credential {
	if a == nil {
		return nil
	}
	return &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)} //nolint:gosec // parsed as 31 bits
}
