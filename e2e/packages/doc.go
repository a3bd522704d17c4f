// Package packages tries the packages of a release where they are meant to be used: the deb in a Debian that systemd runs
// (systemd-nspawn), the scripts of the rpm in a bare directory, the MSI under wine. docs/INSTALL.md says what was proved where.
//
// It holds tests only. They take minutes, so `make packages-test` runs them and `make test` does not.
package packages
