//go:build linux

package cluster

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// The files of a cluster's folder.
const (
	markName     = "headgate-cluster" // says that we made the folder
	envName      = "cluster.env"
	stateName    = "cluster.json"
	socketName   = "control.sock"
	lockName     = "lock"
	accountsName = "accounts.txt"
	logsName     = "logs"
	configName   = "config" // of a cluster on shifted ports
)

// maxSocketPath is what a unix socket's address holds.
const maxSocketPath = 107

// Folder is where a cluster keeps everything.
type Folder struct{ Path string } // absolute, without symbolic links

// ErrNotOurs: the folder was not made by a cluster.
var ErrNotOurs = errors.New("is not a cluster's folder")

func (f Folder) join(name string) string { return filepath.Join(f.Path, name) }

// Socket is the path of the control socket.
func (f Folder) Socket() string { return f.join(socketName) }

// EnvFile holds the secrets.
func (f Folder) EnvFile() string { return f.join(envName) }

// Logs is the folder of the members' logs.
func (f Folder) Logs() string { return f.join(logsName) }

// Accounts is the file with the demo accounts.
func (f Folder) Accounts() string { return f.join(accountsName) }

// OpenFolder opens a cluster's folder. ErrNotOurs, wrapped, when it is something else; fs.ErrNotExist when
// there is none.
func OpenFolder(path string) (Folder, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return Folder{}, err
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return Folder{}, fmt.Errorf("the cluster's folder: %w", err)
	}
	f := Folder{abs}
	if _, err := os.Stat(f.join(markName)); err != nil {
		return f, fmt.Errorf("%s %w: it has no file %s", abs, ErrNotOurs, markName)
	}
	return f, nil
}

// MakeFolder opens a cluster's folder, or makes one where there is none or an empty one.
func MakeFolder(path string) (Folder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return Folder{}, fmt.Errorf("the cluster's folder: %w: choose another with --folder", err)
	}
	f, err := OpenFolder(path)
	if errors.Is(err, ErrNotOurs) {
		entries, unread := os.ReadDir(f.Path)
		if unread != nil || len(entries) > 0 {
			return f, errors.Join(fmt.Errorf("%w, and not empty: choose another with --folder", err), unread)
		}
		text := "This folder was made by `cluster up`, and `cluster down --wipe` removes it.\n"
		err = os.WriteFile(f.join(markName), []byte(text), 0o600)
	}
	if err != nil {
		return f, err
	}
	if len(f.Socket()) > maxSocketPath {
		return f, fmt.Errorf("%s: too long a path for a unix socket by %d bytes: choose another with --folder", f.Socket(), len(f.Socket())-maxSocketPath)
	}
	return f, os.MkdirAll(f.Logs(), 0o700)
}

// Wipe removes the folder and everything in it. No cluster may be running.
func (f Folder) Wipe() error {
	if _, err := OpenFolder(f.Path); err != nil {
		return fmt.Errorf("nothing was removed: %w", err)
	}
	return os.RemoveAll(f.Path)
}

// lock holds the folder for one supervisor, until the file is closed or the process ends.
func (f Folder) lock() (*os.File, error) {
	file, err := os.OpenFile(f.join(lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is held by another supervisor", file.Name()), file.Close())
	}
	return file, nil
}

// secrets are made once, each of 260 random bits.
func secrets() []string {
	long := func() string { return rand.Text() + rand.Text() }
	return []string{
		"HEADGATE_TOKEN_SECRET=" + long(), "HEADGATE_TICKET_SECRET=" + long(), "HEADGATE_HOP_SECRET=" + long(),
		"HEADGATE_PAYMENT_SECRET=" + long(), "HEADGATE_USER_HASH_SECRET=" + long(), "HEADGATE_RAFT_SECRET=" + long(),
		"HEADGATE_COUNTER_CLIENT_PASSWORD=" + long(), "HEADGATE_COUNTER_OPERATOR_PASSWORD=" + long(),
		"HEADGATE_AMQP_PASSWORD=" + long(), "HEADGATE_MYSQL_PASSWORD=" + long(),
	}
}

// amqpUser and mysqlUser, who also owns the database of the same name, are the programs' accounts.
const (
	amqpUser  = "headgate"
	mysqlUser = "headgate"
)

// Env gives the variables that the config files take from the environment. They are made and written at
// the first call, readable by their owner only, and kept from then on; the addresses are always the layout's.
func (f Folder) Env(l *Layout) (env []string, err error) {
	env, err = readEnv(f.EnvFile())
	if errors.Is(err, fs.ErrNotExist) {
		env, err = secrets(), nil
	}
	if err != nil {
		return nil, err
	}
	if all := l.Of(RabbitMQ); len(all) > 0 {
		env = setEnv(env, "HEADGATE_AMQP_URL", fmt.Sprintf("amqp://%s:%s@%s/", amqpUser, getEnv(env, "HEADGATE_AMQP_PASSWORD"), all[0].Address()))
	}
	if all := l.Of(MariaDB); len(all) > 0 {
		env = setEnv(env, "HEADGATE_MYSQL_DSN", fmt.Sprintf("%s:%s@tcp(%s)/%[1]s", mysqlUser, getEnv(env, "HEADGATE_MYSQL_PASSWORD"), all[0].Address()))
	}
	var text strings.Builder
	text.WriteString("# Secrets of this cluster, made at its first start. For a shell: set -a && . ./" + envName + "\n")
	for _, each := range env {
		name, value, _ := strings.Cut(each, "=")
		fmt.Fprintf(&text, "%s='%s'\n", name, value)
	}
	return env, writePrivate(f.EnvFile(), text.String())
}

// ReadEnv gives the variables that Env wrote, as NAME=value.
func (f Folder) ReadEnv() ([]string, error) { return readEnv(f.EnvFile()) }

func readEnv(path string) (env []string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		name, value, found := strings.Cut(strings.TrimSpace(line), "=")
		if found && !strings.HasPrefix(name, "#") {
			env = append(env, name+"="+strings.Trim(value, "'"))
		}
	}
	return env, nil
}

func getEnv(env []string, name string) string {
	for _, each := range env {
		if value, found := strings.CutPrefix(each, name+"="); found {
			return value
		}
	}
	return ""
}

func setEnv(env []string, name, value string) []string {
	env = slices.DeleteFunc(env, func(each string) bool { return strings.HasPrefix(each, name+"=") })
	return append(env, name+"="+value)
}

// writePrivate writes a file that its owner alone may read, whole or not at all.
func writePrivate(path, text string) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}

var loopbackPort = regexp.MustCompile(`127\.0\.0\.1:([0-9]{2,5})\b`)
var portsLine = regexp.MustCompile(`ports: \[[0-9, ]+\]`)
var number = regexp.MustCompile(`[0-9]+`)

// Shifted gives the folder of the config files of a cluster whose ports lie so much higher than those of
// source: source itself for 0, else a copy in the cluster's folder, which is made once and used from then on.
func (f Folder) Shifted(source string, shift int) (string, error) {
	copied := f.join(configName)
	if _, err := os.Stat(copied); err == nil {
		return copied, nil
	}
	if shift == 0 {
		return filepath.Abs(source)
	}
	files, err := os.ReadDir(source)
	if err != nil {
		return "", fmt.Errorf("the config files: %w", err)
	}
	half := copied + ".new"
	if err := errors.Join(os.RemoveAll(half), os.Mkdir(half, 0o700)); err != nil {
		return "", err
	}
	for _, file := range files {
		if !file.Type().IsRegular() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(source, file.Name()))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(half, file.Name()), shiftPorts(text, shift), 0o600); err != nil {
			return "", err
		}
	}
	return copied, os.Rename(half, copied)
}

func shiftPorts(text []byte, shift int) []byte {
	add := func(digits []byte) []byte {
		port, err := strconv.Atoi(string(digits))
		if err != nil {
			return digits
		}
		return strconv.AppendInt(nil, int64(port+shift), 10)
	}
	text = loopbackPort.ReplaceAllFunc(text, func(found []byte) []byte {
		return append([]byte("127.0.0.1:"), add(found[len("127.0.0.1:"):])...)
	})
	return portsLine.ReplaceAllFunc(text, func(found []byte) []byte { return number.ReplaceAllFunc(found, add) })
}
