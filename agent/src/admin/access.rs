//! Who may ask for what.
//!
//! Over the unix socket the kernel says who asks: root, the daemon's own user and the group `weir`
//! see everything and may change things; anyone else sees what is theirs. Over TCP nobody is known
//! but by the token of a session, which was given out over the socket (see
//! [`sessions`](super::sessions)); without one it shows what any local user may see. In any case it
//! answers only clients that are not a web page of someone else's (Host, Origin and Fetch metadata
//! are checked).

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue};

use super::peer::Peer;
use super::sessions::{Session, Sessions};

/// Whoever sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// Sees everything, may change things.
    Administrator,
    /// Sees what belongs to this user id.
    User(u32),
    /// Came over TCP without a session; whether it sent the token of metrics.
    Http { token: bool },
}

/// The caller may not do that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    #[error(
        "over HTTP only metrics, health, prices and a short status are served without a session"
    )]
    Http,
    #[error("sessions are made over the unix socket only")]
    OnlyOverTheSocket,
    #[error("too many requests with tokens that are none")]
    TooManyTokens,
    #[error("only root and members of the group `weir` may change this")]
    NotAnAdministrator,
    #[error("only root and members of the group `weir` may see this")]
    NotForUsers,
    #[error("a token is needed: send it as `Authorization: Bearer …` (see metrics.token_file)")]
    NoToken,
    #[error("the Host, Origin or Sec-Fetch-Site header names another site")]
    OtherSite,
}

impl Caller {
    /// The caller at the other end of the unix socket. `group` is the id of the group `weir`,
    /// `own` the user id the daemon runs as.
    pub(super) fn of(peer: &Peer, group: Option<u32>, own: u32) -> Self {
        let member = group.is_some_and(|group| peer.groups.contains(&group));
        if peer.uid == 0 || peer.uid == own || member {
            Self::Administrator
        } else {
            Self::User(peer.uid)
        }
    }

    /// The user id whose rows may be shown; `None` is everyone's.
    pub(super) fn rows_of(self) -> Result<Option<u32>, Denied> {
        match self {
            Self::Administrator => Ok(None),
            Self::User(uid) => Ok(Some(uid)),
            Self::Http { .. } => Err(Denied::Http),
        }
    }

    /// Whether things may be changed.
    pub(super) fn may_change(self) -> Result<(), Denied> {
        match self {
            Self::Administrator => Ok(()),
            Self::User(_) => Err(Denied::NotAnAdministrator),
            Self::Http { .. } => Err(Denied::Http),
        }
    }

    /// Whether metrics may be read, where `guarded` says that they need a token.
    pub(super) fn may_read_metrics(self, guarded: bool) -> Result<(), Denied> {
        match self {
            Self::Administrator | Self::Http { token: true } => Ok(()),
            _ if !guarded => Ok(()),
            Self::User(_) | Self::Http { token: false } => Err(Denied::NoToken),
        }
    }
}

/// What a TCP request shows of who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// Nothing.
    Nothing,
    /// A token that is none.
    Wrong,
    /// The token of metrics.
    Metrics,
    /// The token of a session.
    Session(Session),
}

/// Who sent a TCP request: a browser that was led here by another site is denied, because it would
/// act for its user (DNS rebinding, cross-site requests). `token` is the one of metrics.
pub(super) fn over_http(
    headers: &HeaderMap,
    token: Option<&str>,
    sessions: &Sessions,
) -> Result<Shown, Denied> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(is_local) {
        return Err(Denied::OtherSite);
    }
    let foreign = |origin: &HeaderValue| {
        // An origin with another scheme or port is another site: compare all of it.
        origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")) != host
    };
    if headers.get_all(ORIGIN).iter().any(foreign) || is_embedded(headers) {
        return Err(Denied::OtherSite);
    }
    let Some(sent) = headers.get(AUTHORIZATION) else { return Ok(Shown::Nothing) };
    let Some(sent) = sent.as_bytes().strip_prefix(b"Bearer ") else { return Ok(Shown::Wrong) };
    if let Some(session) = sessions.find(sent) {
        return Ok(Shown::Session(session));
    }
    let same = |token: &str| {
        aws_lc_rs::constant_time::verify_slices_are_equal(sent, token.as_bytes()).is_ok()
    };
    Ok(if token.is_some_and(same) { Shown::Metrics } else { Shown::Wrong })
}

/// Whether a page of another site wants this for itself: as a script, an image, a frame. Requests
/// without an Origin header are told apart by Fetch metadata, which every browser sends. That
/// someone follows a link to here is another thing.
fn is_embedded(headers: &HeaderMap) -> bool {
    let is = |name: &str, word: &str| headers.get(name).is_some_and(|value| value == word);
    let visit = is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document");
    let same = |site: &HeaderValue| site == "same-origin" || site == "none";
    headers.get_all("sec-fetch-site").iter().any(|site| !same(site)) && !visit
}

fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    matches!(name, "127.0.0.1" | "localhost" | "[::1]")
}

/// The id of a group by name, from the group file: groups of directory services are not for
/// administering a host's agent.
pub(super) fn group_id(file: &str, name: &str) -> Option<u32> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(uid: u32, groups: &[u32]) -> Caller {
        Caller::of(&Peer { uid, groups: groups.to_vec() }, Some(77), 500)
    }

    #[test]
    fn root_the_daemons_user_and_the_group_administer() {
        assert_eq!(caller(0, &[0]), Caller::Administrator);
        assert_eq!(caller(500, &[500]), Caller::Administrator);
        assert_eq!(caller(1000, &[1000, 77]), Caller::Administrator);
        assert_eq!(caller(1000, &[1000, 7]), Caller::User(1000));
        let nobody = Peer { uid: 65534, groups: vec![] };
        assert_eq!(Caller::of(&nobody, None, 0), Caller::User(65534));
    }

    #[test]
    fn users_see_their_rows_and_change_nothing() {
        assert_eq!(Caller::User(7).rows_of(), Ok(Some(7)));
        assert_eq!(Caller::User(7).may_change(), Err(Denied::NotAnAdministrator));
        assert_eq!(Caller::Http { token: true }.may_change(), Err(Denied::Http));
        assert_eq!(Caller::Http { token: true }.rows_of(), Err(Denied::Http));
        assert_eq!(Caller::Administrator.rows_of(), Ok(None));
    }

    #[test]
    fn guarded_metrics_need_the_token() {
        assert_eq!(Caller::Http { token: false }.may_read_metrics(false), Ok(()));
        assert_eq!(Caller::Http { token: false }.may_read_metrics(true), Err(Denied::NoToken));
        assert_eq!(Caller::User(7).may_read_metrics(true), Err(Denied::NoToken));
        assert_eq!(Caller::Http { token: true }.may_read_metrics(true), Ok(()));
    }

    #[test]
    fn other_sites_are_denied() {
        let headers = |pairs: &[(http::HeaderName, &str)]| {
            let pair = |(name, value): &(http::HeaderName, &str)| {
                (name.clone(), HeaderValue::from_str(value).unwrap())
            };
            pairs.iter().map(pair).collect::<HeaderMap>()
        };
        let sessions = Sessions::new(std::sync::Arc::new(crate::clock::System));
        let ask = |pairs: &[(http::HeaderName, &str)]| {
            over_http(&headers(pairs), Some("secret"), &sessions)
        };
        let anyone = Ok(Shown::Nothing);
        for host in ["127.0.0.1:4181", "localhost", "[::1]:9", "localhost:4181"] {
            assert_eq!(ask(&[(HOST, host)]), anyone, "{host}");
        }
        for host in ["evil.test", "127.0.0.1.evil.test", "evil.test:4181", "", "::1"] {
            assert_eq!(ask(&[(HOST, host)]), Err(Denied::OtherSite), "{host}");
        }
        assert_eq!(ask(&[]), Err(Denied::OtherSite));
        let here = (HOST, "localhost:4181");
        assert_eq!(ask(&[here.clone(), (ORIGIN, "http://localhost:4181")]), anyone);
        for origin in ["http://evil.test", "null", "https://localhost:4181", "http://localhost:1"] {
            assert_eq!(ask(&[here.clone(), (ORIGIN, origin)]), Err(Denied::OtherSite), "{origin}");
        }
        let [site, mode, dest] = ["site", "mode", "dest"]
            .map(|word| http::HeaderName::try_from(format!("sec-fetch-{word}")).unwrap());
        for (from, how, what, expected) in [
            ("same-origin", "cors", "empty", anyone),
            ("none", "navigate", "document", anyone),
            ("cross-site", "navigate", "document", anyone),
            ("cross-site", "navigate", "iframe", Err(Denied::OtherSite)),
            ("cross-site", "no-cors", "script", Err(Denied::OtherSite)),
            ("same-site", "no-cors", "image", Err(Denied::OtherSite)),
            ("cross-site", "cors", "empty", Err(Denied::OtherSite)),
        ] {
            let sent =
                [here.clone(), (site.clone(), from), (mode.clone(), how), (dest.clone(), what)];
            assert_eq!(ask(&sent), expected, "{from} {how} {what}");
        }
        for (sent, shown) in [
            ("Bearer secret", Shown::Metrics),
            ("Bearer wrong", Shown::Wrong),
            ("Bearer ", Shown::Wrong),
            ("Basic c2VjcmV0", Shown::Wrong),
        ] {
            assert_eq!(ask(&[here.clone(), (AUTHORIZATION, sent)]), Ok(shown), "{sent}");
        }
    }

    #[test]
    fn groups_are_found_by_name() {
        let file = "root:x:0:\nweir:x:997:alice,bob\nweirdos:x:5:\n";
        assert_eq!(group_id(file, "weir"), Some(997));
        assert_eq!(group_id(file, "nobody"), None);
    }
}
