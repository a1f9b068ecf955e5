//! COMPRESS=DEFLATE (RFC 4978) over a connection.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::support::{ANN, Client, World, message};

/// A client's side of the compression.
struct Packed {
    client: Client,
    deflate: Compress,
    inflate: Decompress,
    text: Vec<u8>,
}

impl Packed {
    async fn begin(mut client: Client) -> Packed {
        client.gives("COMPRESS DEFLATE", "OK").await;
        Packed {
            client,
            deflate: Compress::new(Compression::default(), false),
            inflate: Decompress::new(false),
            text: Vec::new(),
        }
    }

    fn packed(&mut self, text: &[u8]) -> Vec<u8> {
        let mut packed = Vec::with_capacity(text.len() + 1024);
        self.deflate.compress_vec(text, &mut packed, FlushCompress::Sync).unwrap();
        packed
    }

    async fn send(&mut self, text: &[u8]) {
        let packed = self.packed(text);
        self.client.send(packed).await;
    }

    /// Everything up to a line that begins so.
    async fn until(&mut self, start: &str) -> String {
        let end = format!("\r\n{start}");
        loop {
            let text = String::from_utf8_lossy(&self.text).into_owned();
            let tagged = format!("\r\n{text}").find(&end);
            if let Some(at) = tagged
                && let Some(rest) = text[at..].find("\r\n")
            {
                self.text.drain(..at + rest + 2);
                return text[..at + rest].to_owned();
            }
            let octets = self.client.octets().await;
            let mut space = Vec::with_capacity(4 << 20);
            self.inflate.decompress_vec(&octets, &mut space, FlushDecompress::Sync).unwrap();
            self.text.extend(space);
        }
    }
}

impl Packed {
    /// What the next flush brings, and the client as it goes on without compression.
    async fn last_flush(mut self) -> (String, Client) {
        let mut octets = Vec::new();
        let end = loop {
            octets.extend(self.client.octets().await);
            if let Some(at) = octets.windows(4).position(|four| four == [0, 0, 0xff, 0xff]) {
                break at + 4;
            }
        };
        let mut space = Vec::with_capacity(4 << 20);
        self.inflate.decompress_vec(&octets[..end], &mut space, FlushDecompress::Sync).unwrap();
        self.client.give_back(&octets[end..]);
        (String::from_utf8(space).unwrap(), self.client)
    }
}

#[tokio::test]
async fn a_session_goes_on_compressed() {
    let world = World::start().await;
    let mut client = world.log_in().await;
    client.gives("COMPRESS LZMA", "BAD").await;
    // What came before the answer cannot have been compressed.
    client.send("a COMPRESS DEFLATE\r\nb NOOP\r\n").await;
    assert!(client.line().await.starts_with("a BAD"));
    assert!(client.line().await.starts_with("b OK"));
    let mut packed = Packed::begin(client).await;
    let mail = message("large", &"The same line again\r\n".repeat(20_000));
    packed.send(format!("c APPEND INBOX {{{}+}}\r\n{mail}\r\n", mail.len()).as_bytes()).await;
    assert!(packed.until("c ").await.contains("c OK [APPENDUID"));
    packed.send(b"d SELECT INBOX\r\ne FETCH 1 BODY.PEEK[]\r\n").await;
    let answer = packed.until("e ").await;
    assert!(answer.contains("* 1 EXISTS") && answer.contains(&mail));
    packed.send(b"f COMPRESS DEFLATE\r\n").await;
    assert!(packed.until("f ").await.contains("f NO [COMPRESSIONACTIVE]"));
    // News while idling come at once.
    packed.send(b"g IDLE\r\n").await;
    packed.until("+ ").await;
    world.log_in().await.append("INBOX", "", &message("new", "x")).await;
    packed.until("* 2 EXISTS").await;
    packed.send(b"DONE\r\nh LOGOUT\r\n").await;
    assert!(packed.until("h ").await.contains("* BYE"));
}

#[tokio::test]
async fn a_line_that_was_a_bomb_is_a_line_too_long() {
    let world = World::start().await;
    let mut packed = Packed::begin(world.log_in().await).await;
    let mut line = vec![b'a'; 8 << 20];
    line.extend_from_slice(b"\r\nx NOOP\r\n");
    packed.send(&line).await;
    assert!(packed.until("x ").await.contains(" BAD "));
}

#[tokio::test]
async fn nonsense_ends_the_session() {
    let world = World::start().await;
    let mut packed = Packed::begin(world.log_in().await).await;
    packed.client.send([0xff; 64]).await;
    assert_eq!(packed.client.try_line().await, None);
}

/// RFC 8437 §4.1: compression ends with the command on one side, with the answer on the other.
#[tokio::test]
async fn unauthenticate_ends_the_compression() {
    let world = World::start().await;
    let login = format!("LOGIN {ANN} {}", world.password);
    let mut packed = Packed::begin(world.log_in().await).await;
    packed.send(b"a SELECT INBOX\r\nb UNAUTHENTICATE\r\n").await;
    assert!(packed.until("b ").await.contains("b OK [CAPABILITY "));
    // Anew, and this time all in one packet: the flush, and behind it plain text.
    let mut client = packed.client;
    client.ok(&login).await;
    let mut packed = Packed::begin(client).await;
    let mut octets = packed.packed(b"c NOOP\r\nd UNAUTHENTICATE\r\n");
    octets.extend_from_slice(format!("e {login}\r\nf NOOP\r\n").as_bytes());
    packed.client.send(octets).await;
    let (answer, mut client) = packed.last_flush().await;
    assert!(answer.contains("c OK") && answer.contains("d OK [CAPABILITY "), "{answer}");
    assert!(client.line().await.starts_with("e OK"));
    assert!(client.line().await.starts_with("f OK"));
    // The octets of the flush come late.
    let mut packed = Packed::begin(client).await;
    let octets = packed.packed(b"g UNAUTHENTICATE\r\n");
    let (most, last) = octets.split_at(octets.len() - 3);
    packed.client.send(most).await;
    packed.until("g ").await;
    packed.client.send(last).await;
    packed.client.ok(&login).await;
}

#[tokio::test]
async fn what_notify_tells_is_compressed() {
    let world = World::start().await;
    let mut packed = Packed::begin(world.log_in().await).await;
    packed.send(b"n NOTIFY SET (personal (MailboxName))\r\n").await;
    assert!(packed.until("n ").await.contains("n OK"));
    world.log_in().await.ok("CREATE New").await;
    assert!(packed.until("* LIST").await.ends_with("* LIST (\\HasNoChildren) \"/\" New"));
}
