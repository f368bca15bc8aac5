//! Hosts against each other: one scenario per test, awaited conditions, no sleeps.

mod catch_up_test;
mod chaos_test;
mod checking_test;
mod cluster;
mod damage_test;
mod durability_test;
mod failover_test;
mod formats_test;
mod knowing_test;
mod membership_test;
mod requests_test;
mod resting_test;
mod sessions_test;
mod snapshot_test;
mod statement_test;
