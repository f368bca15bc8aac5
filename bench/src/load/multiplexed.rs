//! Clients of Redis's protocol over one connection that they share: each has one operation in flight, replies come in the
//! order of the requests, and whoever has its reply asks again. What is ready together leaves in one write.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Result, bail};

use super::client::{self, Client, Operation};
use super::worker::Worker;

pub(super) async fn run(mut worker: Worker) {
    while !worker.stop.load(Ordering::Relaxed) {
        if let Err(error) = share(&mut worker).await {
            worker.recorder.failed(&error);
            worker.reconnect().await;
        }
    }
}

/// Until the load is stopped or the connection fails.
async fn share(worker: &mut Worker) -> Result<()> {
    let mut in_flight: VecDeque<(Instant, Operation)> = VecDeque::new();
    while !worker.stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        while in_flight.len() < worker.shape.sharing {
            let (operation, key, value) = worker.draw();
            let Client::Resp(resp) = &mut worker.client else { bail!("only Redis's protocol") };
            client::queue(resp, operation, &key, &value);
            in_flight.push_back((now, operation));
        }
        let Client::Resp(resp) = &mut worker.client else { bail!("only Redis's protocol") };
        resp.flush().await?;
        while let Some((start, operation)) = in_flight.pop_front() {
            client::settle(resp, operation).await?;
            worker.recorder.done_in(start.elapsed(), 1);
            if !resp.has_reply() {
                break;
            }
        }
    }
    Ok(())
}
