//! Examples at the end of each command's help and man page.

pub(super) const PROGRAM: &str = "\
Examples:
  reveille drill                                 rehearse with injected faults
  reveille exec -i hosts.ini -l web -- uptime    run a command on a group
  reveille run deploy.yaml -i hosts.ini          run a job
  reveille show                                  show the last run's result

Exit status:
  0  all hosts succeeded, or their failures are allowed
  1  internal error
  2  bad usage or input; nothing was dispatched
  3  some hosts failed, were quarantined or were cancelled
  4  hosts are unaccounted for
  5  interrupted; continue with `reveille resume`";

pub(super) const EXEC: &str = "\
Examples:
  reveille exec -w 'web[01-40]' -- uptime
  reveille exec -i hosts.ini -l 'web:!web07' -b -- systemctl reload nginx
  reveille exec -i hosts.ini --template -- 'echo {{ inventory_hostname }}'
  reveille exec -i hosts.ini --durable --idle 10m -- apt-get -y upgrade
  reveille exec -i hosts.ini --stdin key.pub -- tee -a .ssh/authorized_keys";

pub(super) const RUN: &str = "\
Examples:
  reveille run deploy.yaml -i hosts.ini --plan
  reveille run deploy.yaml -i hosts.ini -l web --serial 1,10%,50% --max-fail 2%
  reveille run deploy.yaml -i hosts.ini -e version=1.4.2 --tags config,restart";

pub(super) const RESUME: &str = "\
Examples:
  reveille resume
  reveille resume r-20261121-101502-4f2a --concurrency 50";

pub(super) const RETRY: &str = "\
Examples:
  reveille retry
  reveille retry --only connect_timeout --only ssh_initiated_failed
  reveille retry r-20261121-101502-4f2a --only failed";

pub(super) const DRILL: &str = "\
Examples:
  reveille drill
  reveille drill deploy.yaml --hosts 500
  reveille drill --fault partial_stall=5% --fault reboot=3
  reveille drill --list-faults";

pub(super) const HOSTS: &str = "\
Examples:
  reveille hosts -i hosts.ini -l 'web:&new'
  reveille hosts -i hosts.ini --vars -l db1
  reveille hosts -i hosts.ini --why web1 --port 2222
  reveille hosts -l @last:failed -i hosts.ini";

pub(super) const COPY: &str = "\
Examples:
  reveille copy -i hosts.ini motd /etc/motd --mode 0644
  reveille copy -i hosts.ini conf/ /etc/app/
  reveille copy -i hosts.ini a.tar b.tar /var/tmp/ -b --owner app";

pub(super) const FETCH: &str = "\
Examples:
  reveille fetch -i hosts.ini /etc/os-release --to releases
  reveille fetch -i hosts.ini -l web /var/log/nginx --to logs";

pub(super) const PING: &str = "\
Examples:
  reveille ping -i hosts.ini
  reveille ping -i hosts.ini -l @last:failed";

pub(super) const LINT: &str = "\
Examples:
  reveille lint deploy.yaml
  reveille lint deploy.yaml -i hosts.ini
  reveille lint hosts.ini";

pub(super) const SHOW: &str = "\
Examples:
  reveille show
  reveille show r-20261121-101502-4f2a --format json
  reveille show --follow";

pub(super) const LOGS: &str = "\
Examples:
  reveille logs web1
  reveille logs r-20261121-101502-4f2a 'web*' --step install
  reveille logs --failed
  reveille logs --follow web1
  reveille logs --raw web1 | less -R";

pub(super) const TOP: &str = "\
Examples:
  reveille top
  reveille top r-20261121-101502-4f2a";

pub(super) const RUNS: &str = "\
Examples:
  reveille runs
  reveille runs --failed --since 7d
  reveille runs --kind run --number 10 --format json";

pub(super) const EXPORT: &str = "\
Examples:
  reveille export --to artifacts
  reveille export r-20261121-101502-4f2a --to artifacts";

pub(super) const PRUNE: &str = "\
Examples:
  reveille prune --older-than 90d --dry-run
  reveille prune --older-than 90d";

pub(super) const INIT: &str = "\
Examples:
  reveille init
  reveille init fleet";

pub(super) const COMPLETIONS: &str = "\
Examples:
  reveille completions bash > /etc/bash_completion.d/reveille
  reveille completions zsh > ~/.zfunc/_reveille
  reveille completions fish > ~/.config/fish/completions/reveille.fish";
