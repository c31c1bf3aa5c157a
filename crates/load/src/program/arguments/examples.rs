//! Examples at the end of the help and in the man pages.

pub(super) const PROGRAM: &str = "\
Examples:
  reveille-load http://127.0.0.1:8080/ -u 50 -d 30s
  reveille-load http://127.0.0.1:8080/ -r 500/s -d 1m --threshold 'p99 < 500ms'
  reveille-load shop.yaml --plan
  reveille-load shop.yaml --once
  reveille-load shop.yaml --html report.html --save monday.json
  reveille-load shop.yaml --baseline monday.json

Exit status:
  0  all thresholds were met
  1  internal error, or a part of the result is missing
  2  bad usage or input; nothing was sent
  3  the bootstrap failed, or no request was answered as expected
  5  interrupted
  6  a threshold was missed

HTTP/1.1 and HTTP/2 only: no gRPC, no WebSocket.";

pub(super) const IMPORT: &str = "\
Examples:
  reveille-load import har recording.har > shop.yaml
  reveille-load import openapi api.yaml > api-load.yaml";
