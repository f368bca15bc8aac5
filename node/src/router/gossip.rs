//! Tells peers what this node leads: on every change, when a link comes up, and every second.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use quorate_group::host::{Input, Status};
use quorate_model::admin::Role;
use quorate_model::{GroupId, Term};
use tokio_util::sync::CancellationToken;

use super::table::Table;
use crate::driver::{Event, Inbox};
use crate::peer::{Leaders, Links};

const INTERVAL: Duration = Duration::from_secs(1);

/// Runs until `over`. `status` is what the driver shows; the table changes whenever its roles do.
pub async fn gossip(
    links: Links,
    table: Arc<Table>,
    status: Arc<ArcSwap<Status>>,
    inbox: Arc<Inbox>,
    over: CancellationToken,
) {
    let mut changes = table.changes();
    let mut interval = tokio::time::interval(INTERVAL);
    let mut told = Arc::new(Leaders::default());
    loop {
        let again = tokio::select! {
            () = over.cancelled() => return,
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                false
            }
            () = links.established() => true,
            _ = interval.tick() => {
                links.remind_of_moves();
                remind_of_myself(&links, &table, &inbox);
                true
            }
        };
        let news = Leaders { leads: led(&status.load()), moved: links.moved() };
        if again || *told != news {
            told = Arc::new(news);
            links.announce_leaders(&told);
        }
    }
}

fn led(status: &Status) -> Vec<(GroupId, Term)> {
    status
        .replicas
        .iter()
        .filter(|replica| replica.role == Role::Leader)
        .map(|replica| (replica.group, replica.term))
        .collect()
}

/// A node that came back at another address and leads the meta group itself has nobody else to tell.
fn remind_of_myself(links: &Links, table: &Table, inbox: &Inbox) {
    let me = links.me();
    let view = table.view();
    let placed = view.routing.members.get(&me.node).map(|member| &member.addresses);
    if view.meta.leader == Some(me.node) && placed.is_some_and(|placed| *placed != me.addresses) {
        let input = Input::PeerAddresses { peer: me.node, addresses: me.addresses.clone() };
        inbox.report(Event::Input(input));
    }
}
