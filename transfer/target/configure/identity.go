package configure

import (
	"context"
	"path"
	"regexp"
	"strings"
)

// hostname gives the system the name that was chosen. The old one is replaced in /etc/hosts too, so that it still finds itself.
func hostname(_ context.Context, s *system) error {
	name := s.options.Hostname
	if name == "" {
		return nil
	}
	const why = "host name as chosen"
	old := ""
	for _, file := range []string{"/etc/hostname", "/etc/HOSTNAME"} {
		if text, err := s.read(file); err == nil {
			if old == "" {
				old = strings.TrimSpace(text)
			}
			if err := s.put(file, name+"\n", permFile, why); err != nil {
				return err
			}
		}
	}
	if value, ok := shellValue(s.text("/etc/sysconfig/network"), "HOSTNAME"); ok {
		if old == "" {
			old = value
		}
		if err := s.edit("/etc/sysconfig/network", why, func(text string) string { return setShell(text, "HOSTNAME", name) }); err != nil {
			return err
		}
	}
	if old == "" {
		if err := s.put("/etc/hostname", name+"\n", permFile, why); err != nil {
			return err
		}
	}
	if short, _, _ := strings.Cut(old, "."); old == "" || old == name || short == "localhost" {
		return nil
	}
	return s.edit("/etc/hosts", why, func(text string) string { return renameHost(text, old, name) })
}

var hostWord = regexp.MustCompile(`[^\s#]+|#.*`)

// renameHost gives a host its new name wherever /etc/hosts has the old one, alone or with a domain. A new name without a domain keeps the
// old domain.
func renameHost(text, old, name string) string {
	short, _, _ := strings.Cut(old, ".")
	shortName, domain, _ := strings.Cut(name, ".")
	return hostWord.ReplaceAllStringFunc(text, func(word string) string {
		first, rest, dotted := strings.Cut(word, ".")
		switch {
		case first != short:
			return word
		case !dotted:
			return shortName
		case domain != "":
			return name
		default:
			return name + "." + rest
		}
	})
}

// identity renews what tells two machines apart, when asked: the machine id, and the keys by which ssh knows a host.
func identity(ctx context.Context, s *system) error {
	if s.options.NewMachineID {
		// Empty: made at the next start, without taking it for the first one (machine-id(5)).
		if err := s.edit("/etc/machine-id", "a new id is made at the next start", func(string) string { return "" }); err != nil {
			return err
		}
		if at, err := s.resolve("/var/lib/dbus/machine-id", false); err == nil {
			if info, err := s.root.Lstat(at); err == nil && info.Mode().IsRegular() {
				if err := s.link("/var/lib/dbus/machine-id", "/etc/machine-id", "follows the new machine id"); err != nil {
					return err
				}
			}
		}
	}
	if s.options.NewHostKeys {
		return s.newHostKeys(ctx)
	}
	return nil
}

// newHostKeys has the system's own ssh-keygen make keys of the kinds that there are, once.
func (s *system) newHostKeys(ctx context.Context) error {
	old := s.glob("/etc/ssh/ssh_host_*_key")
	keygen := s.program("ssh-keygen")
	if keygen == "" && len(old) > 0 {
		s.warn("ssh host keys are those of the source: there is no ssh-keygen")
		return nil
	}
	for _, name := range old {
		if s.changed(name) {
			continue
		}
		kind := strings.TrimSuffix(strings.TrimPrefix(path.Base(name), "ssh_host_"), "_key")
		if !regexp.MustCompile(`^(rsa|ecdsa|ed25519)$`).MatchString(kind) { // dsa is not made any more
			for _, old := range []string{name + ".pub", name} {
				if err := s.remove(old, "ssh host key of a kind that is not made any more"); err != nil {
					return err
				}
			}
			continue
		}
		if err := s.run(ctx, keygen, "-q", "-t", kind, "-N", "", "-C", "", "-f", "/tmp/key"); err != nil {
			return err
		}
		for _, suffix := range []string{".pub", ""} { // the key last: it says that both are there
			if err := s.adopt("key"+suffix, name+suffix, 0o600, "new ssh host key"); err != nil {
				return err
			}
		}
	}
	return nil
}
