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

// serverAccount returns nil unless we are root, as whom PostgreSQL refuses to run.
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
func (a *account) mkdir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	if a == nil {
		return nil
	}
	if err := os.Chown(path, a.uid, a.gid); err != nil {
		return fmt.Errorf("give directory to user %s: %w", a.name, err)
	}
	return nil
}

// writeFile makes a file that only the account and root read.
func (a *account) writeFile(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the server's files: %w", err)
	}
	if a == nil {
		return nil
	}
	if err := os.Chown(path, a.uid, a.gid); err != nil {
		return fmt.Errorf("give file to user %s: %w", a.name, err)
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
