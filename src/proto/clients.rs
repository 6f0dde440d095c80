//! Clients that were here, so that one that comes back is known: by the instance that each process
//! draws. Of as many as anybody has; of more, the oldest are forgotten.

use std::collections::{HashMap, VecDeque};

use super::broker::Instance;

/// Those that are remembered.
#[derive(Debug, Default)]
pub struct Clients {
    /// How often each has come back.
    comebacks: HashMap<Instance, u64>,
    /// In the order in which they came first.
    order: VecDeque<Instance>,
}

/// 40 bytes each.
const REMEMBERED: usize = 4096;

impl Clients {
    /// A client has a session: how often it had one before.
    pub fn joined(&mut self, instance: Instance) -> u64 {
        if let Some(comebacks) = self.comebacks.get_mut(&instance) {
            *comebacks += 1;
            return *comebacks;
        }
        if self.order.len() >= REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.comebacks.remove(&oldest);
        }
        self.order.push_back(instance);
        self.comebacks.insert(instance, 0);
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_back_is_known_and_the_oldest_are_forgotten() {
        let mut clients = Clients::default();
        let instance = |number: usize| {
            let mut instance = [0; 32];
            instance[..8].copy_from_slice(&number.to_le_bytes());
            instance
        };
        assert_eq!([0, 1, 0, 0].map(|it| clients.joined(instance(it))), [0, 0, 1, 2]);
        for number in 2..2 * REMEMBERED {
            clients.joined(instance(number));
        }
        assert_eq!((clients.comebacks.len(), clients.order.len()), (REMEMBERED, REMEMBERED));
        assert_eq!(clients.joined(instance(0)), 0);
    }
}
