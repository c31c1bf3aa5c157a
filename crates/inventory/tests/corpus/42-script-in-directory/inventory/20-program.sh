#!/bin/sh
echo '{"g": {"hosts": ["d"], "vars": {"v": "program"}}, "_meta": {"hostvars": {"d": {"x": 2}, "s": {"x": 3}}}}'
