//! Two nodes' links over real sockets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quorate_group::host::{Failure, Input, PeerMessage, Reply};
use quorate_model::{
    Addresses, Datacenter, Epoch, GroupId, Member, Mode, NodeId, ShardPlacement, StoreId, Topology,
};
use tokio::net::TcpListener;

use super::*;
use crate::driver::{Event, Inbox};

struct Node {
    links: Links,
    inbox: Arc<Inbox>,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard(Mutex<Vec<(NodeId, Leaders)>>);

impl Hear for Heard {
    fn leaders(&self, from: NodeId, leaders: Leaders) {
        self.0.lock().push((from, leaders));
    }
}

async fn node(id: u128, boot: u64, at: &str) -> Node {
    let listener = TcpListener::bind(at).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let me = Me { store: StoreId(1), node: NodeId(id), addresses: addresses(&address), boot };
    let (inbox, heard) = (Arc::new(Inbox::default()), Arc::new(Heard::default()));
    let links = Links::new(me, Arc::clone(&inbox), Arc::clone(&heard) as Arc<dyn Hear>);
    tokio::spawn(accept(links.clone(), listener));
    Node { links, inbox, heard }
}

fn addresses(peer: &str) -> Addresses {
    let other = String::new;
    Addresses { peer: peer.to_owned(), plain: other(), cluster: other(), admin: other() }
}

fn topology(nodes: &[&Node]) -> Topology {
    let member = |node: &&Node| {
        let me = node.links.me();
        let datacenter = Datacenter::new("dc-a").unwrap();
        let zone = datacenter.clone();
        let addresses = me.addresses.clone();
        (me.node, Member { id: me.node, name: String::new(), datacenter, zone, addresses })
    };
    let members: std::collections::BTreeMap<_, _> = nodes.iter().map(member).collect();
    let voters: std::collections::BTreeSet<_> = members.keys().copied().collect();
    let placement =
        ShardPlacement { genesis: voters.clone(), voters: voters.clone(), preferred_leader: None };
    Topology {
        store: StoreId(1),
        epoch: Epoch(1),
        members,
        meta_voters: voters,
        shards: vec![placement],
        policy: Default::default(),
        mode: Mode::SingleLeader,
    }
}

/// Takes what the inbox gets until something fits.
fn until<T>(inbox: &Inbox, mut fits: impl FnMut(Event) -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut events = Vec::new();
        tokio::task::block_in_place(|| {
            inbox.take(Instant::now() + Duration::from_millis(20), &mut events);
        });
        if let Some(found) = events.into_iter().find_map(&mut fits) {
            return found;
        }
        assert!(Instant::now() < deadline, "nothing that fits has come");
    }
}

async fn connected(links: &Links, lanes: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while links.states().iter().filter(|state| state.up).count() < lanes {
        assert!(Instant::now() < deadline, "not connected: {:?}", links.states());
        tokio::task::yield_now().await;
    }
}

fn abort(stream: u64) -> PeerMessage {
    PeerMessage::SnapshotAbort { stream }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_hearsay_arrive() {
    let (a, b) = (node(1, 1, "127.0.0.1:0").await, node(2, 1, "127.0.0.1:0").await);
    a.links.follow(&topology(&[&a, &b]));
    connected(&a.links, 3).await;
    a.links.send(NodeId(2), GroupId::Meta, abort(7));
    until(&b.inbox, |event| {
        matches!(event, Event::Message { from: NodeId(1), message, .. } if message == abort(7))
            .then_some(())
    });
    let leads = vec![(GroupId::Meta, quorate_model::Term(3))];
    let leaders = Leaders { leads, moved: Vec::new() };
    a.links.announce_leaders(&Arc::new(leaders.clone()));
    let deadline = Instant::now() + Duration::from_secs(20);
    while b.heard.0.lock().is_empty() {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    assert_eq!(*b.heard.0.lock(), [(NodeId(1), leaders)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_knows_nobody_answers_who_contacted_it() {
    let (member, blank) = (node(1, 1, "127.0.0.1:0").await, node(2, 1, "127.0.0.1:0").await);
    member.links.follow(&topology(&[&member, &blank]));
    connected(&blank.links, 3).await;
    blank.links.send(NodeId(1), GroupId::Meta, abort(8));
    until(&member.inbox, |event| {
        matches!(event, Event::Message { from: NodeId(2), .. }).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_request_is_answered_over_the_same_connection() {
    let (a, b) = (node(1, 1, "127.0.0.1:0").await, node(2, 1, "127.0.0.1:0").await);
    a.links.follow(&topology(&[&a, &b]));
    connected(&a.links, 3).await;
    let pending = a.links.ask(NodeId(2), Remote::ReadTopology, None).unwrap();
    let request = |event| if let Event::Request(asked) = event { Some(asked) } else { None };
    let asked = until(&b.inbox, request);
    asked.answer.send(Ok(Reply::Done));
    assert_eq!(pending.await.unwrap(), Ok(Ok(Reply::Done)));
    let pending = a.links.ask(NodeId(2), Remote::ReadTopology, None).unwrap();
    // One that is still on its way to the connection is not sent.
    let _unanswered = until(&b.inbox, request);
    b.links.close();
    assert_eq!(pending.await.unwrap(), Err(Lost::Broken));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_connection_and_a_refused_one_mean_that_the_process_is_dead() {
    let (a, b) = (node(1, 1, "127.0.0.1:0").await, node(2, 1, "127.0.0.1:0").await);
    a.links.follow(&topology(&[&a, &b]));
    connected(&a.links, 3).await;
    let closed = Instant::now();
    b.links.close();
    let dead = until(&a.inbox, refused);
    assert_eq!(dead, NodeId(2));
    println!("noticed after {:?}", closed.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_in_its_place_means_the_same() {
    let (a, b) = (node(1, 1, "127.0.0.1:0").await, node(2, 1, "127.0.0.1:0").await);
    a.links.follow(&topology(&[&a, &b]));
    connected(&a.links, 3).await;
    let again = node(2, 2, "127.0.0.1:0").await;
    b.links.close();
    // It comes back elsewhere and says so to whom it knows.
    again.links.follow(&topology(&[&a, &again]));
    assert_eq!(until(&a.inbox, refused), NodeId(2));
    connected(&a.links, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_at_a_new_address_is_reported() {
    let (a, b) = (node(1, 1, "127.0.0.1:0").await, node(2, 1, "127.0.0.1:0").await);
    let placed = topology(&[&a, &b]);
    let moved = node(2, 2, "127.0.0.1:0").await;
    a.links.follow(&placed);
    moved.links.follow(&placed);
    let reported = until(&a.inbox, |event| {
        if let Event::Input(Input::PeerAddresses { peer: NodeId(2), addresses }) = event {
            Some(addresses)
        } else {
            None
        }
    });
    assert_eq!(reported, moved.links.me().addresses);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_store_and_another_node_are_refused() {
    let a = node(1, 1, "127.0.0.1:0").await;
    let me = Me { store: StoreId(2), node: NodeId(3), addresses: addresses("x:1"), boot: 1 };
    let at = a.links.me().addresses.peer.clone();
    let refused = dial::greet(&me, &at, None, Lane::Bulk).await;
    assert!(matches!(refused, Err(dial::GreetError::Refused(wire::Refusal::OtherStore))));
    let me = Me { store: StoreId(1), ..me };
    let refused = dial::greet(&me, &at, Some(NodeId(9)), Lane::Bulk).await;
    assert!(matches!(refused, Err(dial::GreetError::OtherNode(NodeId(1)))));
    assert!(dial::greet(&me, &at, Some(NodeId(1)), Lane::Bulk).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_says_overloaded_over_the_link() {
    let (a, b) = (node(1, 1, "127.0.0.1:0").await, node(2, 1, "127.0.0.1:0").await);
    a.links.follow(&topology(&[&a, &b]));
    connected(&a.links, 3).await;
    drop(b.inbox.stop());
    let pending = a.links.ask(NodeId(2), Remote::ReadTopology, None).unwrap();
    assert_eq!(pending.await.unwrap(), Ok(Err(Failure::Overloaded)));
}

fn refused(event: Event) -> Option<NodeId> {
    if let Event::Input(Input::PeerRefused { peer }) = event { Some(peer) } else { None }
}
