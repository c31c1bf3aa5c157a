//! A user's cookies, in bounded memory.

/// The most cookies of a user, and the longest `Set-Cookie` header, in bytes.
const MAX_COOKIES: usize = 50;
const MAX_BYTES: usize = 4096;

/// Cookies. Paths are ignored, and times other than `Max-Age=0`.
#[derive(Debug, Default)]
pub(crate) struct Cookies {
    list: Vec<Cookie>,
}

#[derive(Debug)]
struct Cookie {
    /// The host that set it, or the domain it is for.
    domain: Box<str>,
    /// Whether it is also sent to hosts below the domain.
    below: bool,
    secure: bool,
    name: Box<str>,
    value: Box<str>,
}

// === impl Cookies ===

impl Cookies {
    /// Stores the cookie of a `Set-Cookie` header from `host`.
    pub(crate) fn set(&mut self, host: &str, header: &str) {
        let mut parts = header.split(';');
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || header.len() > MAX_BYTES {
            return;
        }
        let (mut domain, mut below, mut secure, mut gone) = (host, false, false, false);
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "domain" => {
                    let wanted = value.trim_start_matches('.');
                    // A host can set cookies for itself and the domains above it, except for top-level domains.
                    if is_below(host, wanted) && (wanted.contains('.') || wanted == host) {
                        (domain, below) = (wanted, true);
                    } else {
                        return;
                    }
                }
                "max-age" => gone = value.starts_with('-') || value == "0",
                "secure" => secure = true,
                _ => {}
            }
        }
        self.list
            .retain(|cookie| !(&*cookie.name == name && cookie.domain.eq_ignore_ascii_case(domain)));
        if gone {
            return;
        }
        if self.list.len() == MAX_COOKIES {
            self.list.remove(0);
        }
        self.list.push(Cookie {
            domain: domain.to_ascii_lowercase().into(),
            below,
            secure,
            name: name.into(),
            value: value.into(),
        });
    }

    /// The `Cookie` header of a request to `host`, if it needs one.
    pub(crate) fn header(&self, host: &str, tls: bool) -> Option<String> {
        let mut text = String::new();
        for cookie in &self.list {
            let is_for = *cookie.domain == *host || (cookie.below && is_below(host, &cookie.domain));
            if is_for && (tls || !cookie.secure) {
                if !text.is_empty() {
                    text.push_str("; ");
                }
                text.push_str(&cookie.name);
                text.push('=');
                text.push_str(&cookie.value);
            }
        }
        (!text.is_empty()).then_some(text)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let cookie = self.list.iter().rev().find(|cookie| &*cookie.name == name)?;
        Some(&cookie.value)
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let domain = domain.to_ascii_lowercase();
    host == domain || host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_go_where_they_belong() {
        let mut cookies = Cookies::default();
        cookies.set("shop.example.org", "a=1; Path=/; HttpOnly");
        cookies.set("shop.example.org", "b=2; Domain=example.org; Secure");
        cookies.set("shop.example.org", "evil=1; Domain=org");
        cookies.set("shop.example.org", "other=1; Domain=example.com");
        assert_eq!(
            cookies.header("shop.example.org", true).as_deref(),
            Some("a=1; b=2")
        );
        assert_eq!(cookies.header("www.example.org", true).as_deref(), Some("b=2"));
        assert_eq!(cookies.header("www.example.org", false), None);
        cookies.set("shop.example.org", "a=; Max-Age=0");
        assert_eq!(cookies.get("a"), None);
        for number in 0..200 {
            cookies.set("shop.example.org", &format!("n{number}=x"));
        }
        assert_eq!(cookies.list.len(), MAX_COOKIES);
    }
}
