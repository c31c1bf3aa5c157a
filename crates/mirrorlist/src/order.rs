//! The order of mirrors in an answer.

use fastrand::Rng;

/// Puts hosts into a random order: each place is drawn among the remaining hosts, by weight. Hosts without a weight
/// come last.
///
/// Each host gets an exponential random time whose rate is its weight, and hosts are sorted by this time. This equals
/// drawing without replacement (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006), and needs
/// no table for each draw.
pub(crate) fn weighted<T: Copy>(hosts: &mut [T], weight: impl Fn(T) -> i64, random: &mut Rng) {
    let mut waiting: Vec<(f64, f64, T)> = hosts
        .iter()
        .map(|&host| {
            // In (0, 1]: its logarithm is finite.
            let wait = -(1.0 - random.f64()).ln();
            match weight(host) {
                weight @ 1.. => (wait / weight as f64, 0.0, host),
                _ => (f64::INFINITY, wait, host),
            }
        })
        .collect();
    waiting.sort_unstable_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
    for (place, (_, _, host)) in hosts.iter_mut().zip(waiting) {
        *place = host;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each order of three comes, against the product of the shares at each draw: a chi-squared test with a
    /// fixed seed.
    #[test]
    fn orders_are_as_likely_as_their_weights_say() {
        const DRAWS: u32 = 60_000;
        let weights = [1_i64, 10, 100];
        let mut random = Rng::with_seed(7);
        let mut seen = std::collections::HashMap::new();
        for _ in 0..DRAWS {
            let mut hosts = [0_usize, 1, 2];
            weighted(&mut hosts, |host| weights[host], &mut random);
            *seen.entry(hosts).or_insert(0_u32) += 1;
        }
        let mut chi_squared = 0.0;
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let share = |host: usize, of: f64| weights[host] as f64 / of;
            let all = 111.0;
            let first = share(order[0], all);
            let second = share(order[1], all - weights[order[0]] as f64);
            let expected = first * second * f64::from(DRAWS);
            let found = f64::from(seen.get(&order).copied().unwrap_or(0));
            chi_squared += (found - expected).powi(2) / expected;
        }
        // 5 degrees of freedom: exceeded once in a thousand seeds.
        assert!(chi_squared < 20.5, "{chi_squared} {seen:?}");
    }

    #[test]
    fn hosts_without_weight_come_last() {
        let mut random = Rng::with_seed(11);
        let mut first = [0_u32; 4];
        for _ in 0..4000 {
            let mut hosts = [0_usize, 1, 2, 3];
            weighted(&mut hosts, |host| if host == 2 { 5 } else { 0 }, &mut random);
            assert_eq!(hosts[0], 2);
            first[hosts[1]] += 1;
        }
        assert!(
            [0, 1, 3].iter().all(|host| (1150..1520).contains(&first[*host])),
            "{first:?}"
        );
    }

    proptest::proptest! {
        #[test]
        fn nobody_is_lost(hosts: Vec<(u16, i64)>, seed: u64) {
            let mut ordered = hosts.clone();
            weighted(&mut ordered, |(_, weight)| weight, &mut Rng::with_seed(seed));
            let (mut one, mut other) = (hosts, ordered);
            one.sort_unstable();
            other.sort_unstable();
            assert_eq!(one, other);
        }
    }
}
