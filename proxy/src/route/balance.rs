//! Sharing reads between two servers: the one with less to do for its weight, and by turns when equal.

/// Counts by which a worker shares its reads; one for each worker, so nothing is shared between cores.
#[derive(Debug, Default)]
pub struct Balance {
    /// Smooth weighted round robin: what each server is owed.
    credit: [i64; 2],
}

/// One of two candidates.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    pub weight: u32,
    /// Statements of this worker that the server is working on.
    pub outstanding: usize,
}

impl Balance {
    /// Chooses 0 or 1: least outstanding for the weight; equal ones take turns in proportion to their weights.
    pub fn choose(&mut self, candidates: [Candidate; 2]) -> usize {
        let [first, second] = candidates;
        if first.outstanding != second.outstanding {
            // (outstanding + 1) / weight, compared without division.
            let first_load = (first.outstanding as u64 + 1) * u64::from(second.weight);
            let second_load = (second.outstanding as u64 + 1) * u64::from(first.weight);
            if first_load != second_load {
                return usize::from(second_load < first_load);
            }
        }
        let weights = [i64::from(first.weight), i64::from(second.weight)];
        self.credit[0] += weights[0];
        self.credit[1] += weights[1];
        let chosen = usize::from(self.credit[1] > self.credit[0]);
        self.credit[chosen] -= weights[0] + weights[1];
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(weight: u32) -> Candidate {
        Candidate {
            weight,
            outstanding: 0,
        }
    }

    #[test]
    fn idle_servers_share_by_weight() {
        let mut balance = Balance::default();
        let second = (0..400)
            .filter(|_| balance.choose([idle(3), idle(1)]) == 1)
            .count();
        assert_eq!(second, 100);
        let second = (0..400)
            .filter(|_| balance.choose([idle(1), idle(1)]) == 1)
            .count();
        assert_eq!(second, 200);
    }

    #[test]
    fn a_weight_of_zero_takes_nothing_while_the_other_can() {
        let mut balance = Balance::default();
        assert!((0..100).all(|_| balance.choose([idle(1), idle(0)]) == 0));
        let busy = Candidate {
            weight: 1,
            outstanding: 9,
        };
        assert_eq!(balance.choose([busy, idle(0)]), 0);
    }

    #[test]
    fn the_busier_server_waits_its_turn() {
        let mut balance = Balance::default();
        let busy = Candidate {
            weight: 1,
            outstanding: 3,
        };
        assert!((0..10).all(|_| balance.choose([busy, idle(1)]) == 1));
    }
}
