//! Random histories compared with a model.

use std::collections::BTreeMap;

use proptest::prelude::*;
use reveille_account::{Account, Class, EventKind, HostName, RunState, Status};

use super::{ended, roll, spec};
use crate::{Ledger, RollEntry};

#[derive(Debug, Clone, Copy)]
enum Action {
    Dispatch(u8),
    End(u8, usize),
    Interrupt,
    Resume,
    Round,
}

fn action() -> impl Strategy<Value = Action> {
    // Hosts 6 and 7 are not on the roll.
    prop_oneof![
        4 => (0..6u8).prop_map(Action::Dispatch),
        4 => (0..8u8, 0..Class::ALL.len() - 1).prop_map(|(host, class)| Action::End(host, class)),
        1 => Just(Action::Interrupt),
        1 => Just(Action::Resume),
        1 => Just(Action::Round),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// The ledger's account after random histories equals that of a model in memory.
    #[test]
    fn the_account_equals_the_models(actions in prop::collection::vec(action(), 0..30), close: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let ledger = Ledger::open(directory.path()).unwrap();
            let handle = ledger.create_run(&spec(), &roll(6)).unwrap();
            let host = |index: u8| HostName::from(format!("web{index}"));
            // For each host on the roll: the round, whether it was dispatched, the outcome. Extra hosts are separate.
            let mut model: BTreeMap<u8, (u32, bool, Option<Class>)> = (0..6).map(|host| (host, (1, false, None))).collect();
            let mut extras: Vec<(u8, u32)> = Vec::new();
            let mut round = 1;
            for action in actions {
                match action {
                    Action::Dispatch(index) if model[&index].0 == round => {
                        handle.record_host(&host(index), EventKind::Dispatched).await.unwrap();
                        model.get_mut(&index).unwrap().1 = true;
                    }
                    Action::End(index, class) => {
                        let class = Class::ALL[class];
                        match model.get_mut(&index) {
                            Some(entry) if entry.0 == round && entry.2.is_none() => {
                                entry.2 = Some(class);
                                handle.record_host(&host(index), ended(class)).await.unwrap();
                            }
                            Some(entry) if entry.0 == round => {}
                            _ if !extras.contains(&(index, round)) => {
                                extras.push((index, round));
                                handle.record_host(&host(index), ended(class)).await.unwrap();
                            }
                            _ => {}
                        }
                    }
                    Action::Interrupt => {
                        handle.set_state(RunState::Interrupted, None).await.unwrap();
                    }
                    Action::Resume => {
                        handle.set_state(RunState::Open, None).await.unwrap();
                    }
                    Action::Round => {
                        let failed: Vec<u8> = model
                            .iter()
                            .filter(|(_, entry)| entry.2.is_some_and(|class| class.status() != Status::Success))
                            .map(|(index, _)| *index)
                            .collect();
                        if !failed.is_empty() {
                            round += 1;
                            for index in &failed {
                                model.insert(*index, (round, false, None));
                            }
                            let roll = failed.iter().map(|index| RollEntry::new(host(*index))).collect();
                            prop_assert_eq!(handle.open_round(roll).await.unwrap(), round);
                        }
                    }
                    Action::Dispatch(_) => {}
                }
            }
            if close {
                handle.set_state(RunState::Closed, None).await.unwrap();
            }
            let mut expected = Account::planned(6);
            let mut forgotten = 0;
            for (_, dispatched, outcome) in model.values() {
                match (outcome, dispatched) {
                    (Some(class), _) => expected.add(class.status()),
                    (None, true) if close => expected.ghost += 1,
                    (None, true) => expected.running += 1,
                    (None, false) if close => forgotten += 1,
                    (None, false) => expected.pending += 1,
                }
            }
            expected.extra = extras.len() as u64;
            let audit = ledger.audit(handle.run()).unwrap();
            prop_assert_eq!(audit.account, expected);
            prop_assert_eq!(ledger.account(handle.run()).unwrap(), expected);
            prop_assert_eq!(audit.forgotten.len(), forgotten);
            prop_assert_eq!(audit.ghosts.len() as u64, expected.ghost);
            prop_assert_eq!(expected.balanced(), forgotten == 0 && extras.is_empty());
            Ok(())
        })?;
    }
}
