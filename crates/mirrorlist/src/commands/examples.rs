//! Examples at the end of each command's help and man page.

pub(crate) const PROGRAM: &str = "\
Examples:
  reveille-mirrorlist check --mirrors mirrors.yaml    check a list and its mirrors
  reveille-mirrorlist serve --mirrors mirrors.yaml    answer clients from the list
  curl 'http://127.0.0.1:3000/mirrorlist?repo=epel-9&arch=x86_64'

Exit status:
  0  success
  1  internal error
  2  bad usage or bad input
  3  `check` found a mirror that is behind or can't be reached";

pub(crate) const SERVE: &str = "\
Examples:
  reveille-mirrorlist serve --mirrors mirrors.yaml --listen 0.0.0.0:3000
  reveille-mirrorlist serve --cache mirrorlist_cache.proto \\
      --netblocks global_netblocks.txt --geoip GeoLite2-Country.mmdb
  reveille-mirrorlist serve --mirrors mirrors.yaml --admin 127.0.0.1:3001 \\
      --listen 0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem

Signals:
  SIGHUP           read all files again, and reopen logs
  SIGTERM, SIGINT  stop; requests in progress have 10 s to finish";

pub(crate) const BUILD: &str = "\
Examples:
  reveille-mirrorlist build mirrors.yaml -o mirrorlist_cache.proto";

pub(crate) const CHECK: &str = "\
Examples:
  reveille-mirrorlist check --mirrors mirrors.yaml
  reveille-mirrorlist check --mirrors mirrors.yaml --offline
  reveille-mirrorlist check --mirrors mirrors.yaml --timer
  reveille-mirrorlist check --cache mirrorlist_cache.proto

Exit status:
  0  success
  1  internal error
  2  bad usage or bad input
  3  a mirror is behind, or a mirror or an origin can't be reached";

pub(crate) const EXPLAIN: &str = "\
Examples:
  reveille-mirrorlist explain --mirrors mirrors.yaml --ip 192.0.2.1 \\
      --repo epel-9 --arch x86_64
  reveille-mirrorlist explain --cache mirrorlist_cache.proto --ip 2001:db8::1 \\
      --path pub/epel/9 --country DE,FR";

pub(crate) const MAN: &str = "\
Examples:
  reveille-mirrorlist man --to ~/.local/share/man/man1";
