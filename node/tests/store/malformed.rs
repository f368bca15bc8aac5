//! What is not RESP, or too large, is answered with Redis' error and a closed connection.

use crate::support::{Dev, send_raw};

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_oversized_requests_close_the_connection_with_redis_errors() {
    let dev = Dev::start(&["--nodes", "1"]);
    for address in [&dev.nodes[0].addresses.plain, &dev.nodes[0].addresses.cluster] {
        for (sent, error) in [
            ("*1\r\n!abc\r\n", "-ERR Protocol error: expected '$', got '!'"),
            ("*99999999999\r\n", "-ERR Protocol error: invalid multibulk length"),
            ("*2\r\n$3\r\nGET\r\n$99999999999\r\n", "-ERR Protocol error: invalid bulk length"),
            ("*2\r\n$3\r\nGET\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length"),
        ] {
            let answer = send_raw(address, sent.as_bytes()).await;
            let answer = answer.unwrap_or_else(|| panic!("not closed after {sent:?}"));
            assert!(answer.starts_with(error), "{sent:?}: {answer:?}");
        }
        let endless = vec![b'x'; 1 << 20];
        let answer = send_raw(address, &endless).await.expect("closed");
        assert!(answer.starts_with("-ERR Protocol error: too big inline request"), "{answer:?}");
    }
    // The node is as well as before.
    assert_eq!(
        send_raw(&dev.nodes[0].addresses.plain, b"PING\r\nQUIT\r\n").await.unwrap(),
        "+PONG\r\n+OK\r\n"
    );
}
