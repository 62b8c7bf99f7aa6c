//! From addresses to networks: what a caller's addresses have in common, if they have anything.
//!
//! Addresses of a NAT gateway are few and stay; those of an office or a proxy wander within a
//! network; those of laptops and of functions outside a VPC wander anywhere and bound nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::bounded::Merge as _;
use super::support::Support;

/// So many addresses of one network make it the network that is expected rather than the addresses.
const WANDERING: usize = 4;
/// More networks than these bound nothing.
const MAX_NETWORKS: usize = 24;

/// What a caller's addresses come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Where he is by habit.
    pub expected: Vec<(IpNet, Support)>,
    /// Where he was too seldom for that.
    pub rare: Vec<(IpNet, Support)>,
    /// He is anywhere, so that no network is expected.
    pub is_anywhere: bool,
}

/// Networks of addresses, each with its support; `is_partial` when there were more addresses.
pub fn networks<'a>(
    addresses: impl Iterator<Item = (&'a str, &'a Support)>,
    is_partial: bool,
    least_days: usize,
) -> Networks {
    let mut around: BTreeMap<IpNet, Vec<(IpAddr, &Support)>> = BTreeMap::new();
    for (text, support) in addresses {
        if let Ok(address) = text.parse::<IpAddr>() {
            around.entry(neighbourhood(address)).or_default().push((address, support));
        }
    }
    let mut found = Networks { is_anywhere: is_partial, ..Networks::default() };
    let mut sort = |network: IpNet, support: Support| {
        let kind = if support.is_habit(least_days) { &mut found.expected } else { &mut found.rare };
        kind.push((network, support));
    };
    for (network, members) in around {
        // A private network is one VPC or office, which can be as large as a /16 and no larger.
        if members.len() >= WANDERING || is_private(network) {
            let mut all = Support::default();
            members.into_iter().for_each(|(_, support)| all.merge(support.clone()));
            sort(network, all);
        } else {
            members.into_iter().for_each(|(address, support)| sort(IpNet::from(address), support.clone()));
        }
    }
    found.expected.sort_by_key(|(network, _)| *network);
    found.rare.sort_by_key(|(network, _)| *network);
    let uses = |networks: &[(IpNet, Support)]| networks.iter().map(|(_, support)| support.uses).sum::<u64>();
    let (often, seldom) = (uses(&found.expected), uses(&found.rare));
    found.is_anywhere |= found.expected.len() > MAX_NETWORKS || wanders(found.rare.len(), seldom, often);
    found
}

/// Whether so much lies outside of what is usual that nothing is: more than a few, and more than one
/// use of a hundred. A few do not decide it, or one visitor would open the door for all.
#[must_use]
pub fn wanders(rare: usize, uses_of_rare: u64, uses_of_usual: u64) -> bool {
    rare > 3 && uses_of_rare.saturating_mul(100) > uses_of_usual.saturating_add(uses_of_rare)
}

/// The network that an address is looked at with: /24 of public IPv4, /16 of private, /64 of IPv6.
fn neighbourhood(address: IpAddr) -> IpNet {
    let net = match address {
        IpAddr::V4(address) => {
            let length = if address.is_private() { 16 } else { 24 };
            Ipv4Net::new(address, length).map(IpNet::from)
        }
        IpAddr::V6(address) => Ipv6Net::new(address, 64).map(IpNet::from),
    };
    net.map_or_else(|_| IpNet::from(address), |net| net.trunc())
}

fn is_private(network: IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.network().is_private(),
        IpNet::V6(network) => network.network().is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::EventTime;

    fn seen(days: std::ops::Range<i64>) -> Support {
        let mut support = Support::default();
        days.for_each(|day| support.note(EventTime::from_millis(day * 86_400_000)));
        support
    }

    fn of(addresses: &[(String, Support)]) -> Networks {
        networks(addresses.iter().map(|(text, support)| (text.as_str(), support)), false, 3)
    }

    fn texts(networks: &[(IpNet, Support)]) -> Vec<String> {
        networks.iter().map(|(network, _)| network.to_string()).collect()
    }

    #[test]
    fn gateways_offices_and_vpcs() {
        let office = (1..40).map(|host| (format!("198.51.100.{host}"), seen(host..host + 1)));
        let gateways = ["203.0.113.7", "203.0.113.9"].map(|text| (text.to_owned(), seen(0..20)));
        let vpc = ["10.20.3.4", "10.20.77.1"].map(|text| (text.to_owned(), seen(0..9)));
        let visitor = [("192.0.2.66".to_owned(), seen(3..4))];
        let all: Vec<_> = office.chain(gateways).chain(vpc).chain(visitor).collect();
        let found = of(&all);
        assert_eq!(texts(&found.expected), ["10.20.0.0/16", "198.51.100.0/24", "203.0.113.7/32", "203.0.113.9/32"]);
        assert_eq!((texts(&found.rare), found.is_anywhere), (vec!["192.0.2.66/32".to_owned()], false));
    }

    #[test]
    fn laptops_are_anywhere_and_one_visitor_does_not_make_them_so() {
        let laptops: Vec<_> = (0..40).map(|n| (format!("198.{}.1.1", n + 20), seen(n..n + 1))).collect();
        assert!(of(&laptops).is_anywhere);
        let mut steady = vec![("203.0.113.7".to_owned(), seen(0..20))];
        steady.push(("192.0.2.66".to_owned(), seen(3..4)));
        assert!(!of(&steady).is_anywhere);
        assert!(of(&[]).expected.is_empty());
        let six = of(&[("2001:db8:1:2::7".to_owned(), seen(0..9)), ("not an address".to_owned(), seen(0..9))]);
        assert_eq!(texts(&six.expected), ["2001:db8:1:2::7/128"]);
    }
}
