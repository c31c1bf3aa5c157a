//! OpenSSH's options.

use std::sync::LazyLock;

/// Whether OpenSSH knows or once knew this option, in lower case.
pub(crate) fn is_known(keyword: &str) -> bool {
    KEYWORDS.binary_search(&keyword).is_ok()
}

/// All options, sorted; used for suggestions too.
pub(crate) static KEYWORDS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    "addkeystoagent addressfamily afstokenpassing batchmode bindaddress bindinterface canonicaldomains \
    canonicalizefallbacklocal canonicalizehostname canonicalizemaxdots canonicalizepermittedcnames \
    casignaturealgorithms certificatefile challengeresponseauthentication channeltimeout checkhostip cipher \
    ciphers clearallforwardings compression compressionlevel connectionattempts connecttimeout controlmaster \
    controlpath controlpersist dsaauthentication dynamicforward enableescapecommandline enablesshkeysign \
    escapechar exitonforwardfailure fallbacktorsh fingerprinthash forkafterauthentication forwardagent \
    forwardx11 forwardx11timeout forwardx11trusted gatewayports globalknownhostsfile globalknownhostsfile2 \
    gssapiauthentication gssapiclientidentity gssapidelegatecredentials gssapikexalgorithms \
    gssapikeyexchange gssapirenewalforcesrekey gssapiserveridentity gssapitrustdns hashknownhosts host \
    hostbasedacceptedalgorithms hostbasedauthentication hostbasedkeytypes hostkeyalgorithms hostkeyalias \
    hostname identitiesonly identityagent identityfile identityfile2 ignoreunknown include ipqos \
    kbdinteractiveauthentication kbdinteractivedevices keepalive kerberosauthentication kerberostgtpassing \
    kexalgorithms knownhostscommand localcommand localforward loglevel logverbose macs match \
    nohostauthenticationforlocalhost numberofpasswordprompts obscurekeystroketiming passwordauthentication \
    permitlocalcommand permitremoteopen pkcs11provider port preferredauthentications protocol \
    protocolkeepalives proxycommand proxyjump proxyusefdpass pubkeyacceptedalgorithms pubkeyacceptedkeytypes \
    pubkeyauthentication refuseconnection rekeylimit remotecommand remoteforward requesttty requiredrsasize \
    revokedhostkeys rhostsauthentication rhostsrsaauthentication rsaauthentication securitykeyprovider \
    sendenv serveralivecountmax serveraliveinterval sessiontype setenv setuptimeout skeyauthentication \
    smartcarddevice stdinnull streamlocalbindmask streamlocalbindunlink stricthostkeychecking syslogfacility \
    tag tcpkeepalive tisauthentication tunnel tunneldevice updatehostkeys useblacklistedkeys usekeychain \
    useprivilegedport user userknownhostsfile userknownhostsfile2 useroaming usersh verifyhostkeydns \
    versionaddendum visualhostkey warnweakcrypto xauthlocation"
        .split(' ')
        .collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_sorted() {
        assert!(KEYWORDS.is_sorted());
        assert!(is_known("proxyjump") && !is_known("proxyjmp"));
    }
}
