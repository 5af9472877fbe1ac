//! A connection through a SOCKS5 proxy (RFC 1928, RFC 1929): who asks, where to, and whether the proxy does it. The name of the
//! host is the proxy's to resolve.

use std::io;
use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::credentials::Proxy;

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 1;
/// How somebody proves to be allowed.
const NOBODY: u8 = 0;
const PASSWORD: u8 = 2;
/// What an address is.
const V4: u8 = 1;
const NAME: u8 = 3;
const V6: u8 = 4;

/// Connects to a host by way of the proxy.
///
/// # Errors
/// The reason, without credentials.
pub async fn connect(proxy: &Proxy, host: &str, port: u16) -> Result<TcpStream, String> {
    let (proxy_host, proxy_port) = proxy.place();
    let failed = |error: io::Error| format!("socks connect tcp {proxy_host}:{proxy_port}: {error}");
    let refused = |why: &str| format!("socks connect tcp {proxy_host}:{proxy_port}->{host}:{port}: {why}");
    let mut stream = TcpStream::connect((proxy_host, proxy_port)).await.map_err(failed)?;
    let opened = match greet(&mut stream, proxy.login()).await {
        Ok(Ok(())) => ask(&mut stream, host, port).await,
        other => other,
    };
    opened.map_err(failed)?.map_err(|why| refused(&why))?;
    Ok(stream)
}

/// What went wrong with the connection, or else what the proxy says.
type Answer = io::Result<Result<(), String>>;

fn no(why: impl Into<String>) -> Answer {
    Ok(Err(why.into()))
}

/// Agrees on how to log in, and does it.
async fn greet(stream: &mut TcpStream, login: Option<(&str, &str)>) -> Answer {
    let offered: &[u8] = match login {
        None => &[VERSION, 1, NOBODY],
        Some(_) => &[VERSION, 2, NOBODY, PASSWORD],
    };
    stream.write_all(offered).await?;
    let [version, method] = read(stream).await?;
    if version != VERSION {
        return no(format!("it is no SOCKS5 proxy: unexpected protocol version {version}"));
    }
    match (method, login) {
        (NOBODY, _) => Ok(Ok(())),
        (PASSWORD, Some((username, password))) => {
            let mut message = vec![LOGIN_VERSION];
            for word in [username, password] {
                let Ok(length) = u8::try_from(word.len()) else {
                    return no("the user name or the password is too long");
                };
                message.push(length);
                message.extend_from_slice(word.as_bytes());
            }
            stream.write_all(&message).await?;
            match read(stream).await? {
                [_, 0] => Ok(Ok(())),
                [_, _] => no("username/password authentication failed"),
            }
        }
        _ => no("no acceptable authentication methods"),
    }
}

/// Asks for the connection.
async fn ask(stream: &mut TcpStream, host: &str, port: u16) -> Answer {
    let mut message = vec![VERSION, CONNECT, 0];
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            message.push(V4);
            message.extend(address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            message.push(V6);
            message.extend(address.octets());
        }
        Err(_) => {
            let Ok(length) = u8::try_from(host.len()) else {
                return no("the name of the host is too long");
            };
            message.extend([NAME, length]);
            message.extend_from_slice(host.as_bytes());
        }
    }
    message.extend(port.to_be_bytes());
    stream.write_all(&message).await?;
    let [version, reply, _, kind] = read(stream).await?;
    if version != VERSION {
        return no(format!("unexpected protocol version {version}"));
    }
    if reply != 0 {
        return no(meaning(reply));
    }
    // Where the proxy connects from, which nobody needs, comes before what the other end says.
    let length = match kind {
        V4 => 4,
        V6 => 16,
        NAME => {
            let [length] = read(stream).await?;
            usize::from(length)
        }
        other => return no(format!("unknown address type {other}")),
    };
    let mut rest = vec![0; length + 2];
    stream.read_exact(&mut rest).await?;
    Ok(Ok(()))
}

async fn read<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn meaning(reply: u8) -> &'static str {
    match reply {
        1 => "general SOCKS server failure",
        2 => "connection not allowed by ruleset",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unknown code",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// What comes of a proxy that says this and hangs up: the connection, or the reason after the addresses. `sent` is what it
    /// was told.
    async fn check(login: (&str, &str), host: &str, said: &[u8], sent: &[u8], expected: Result<(), &str>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Proxy::new(&format!("socks5://{address}"), login.0, login.1).unwrap();
        let play = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(said).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut told = Vec::new();
            // One that hangs up before it has read everything resets the connection.
            let _ = stream.read_to_end(&mut told).await;
            told
        };
        let connect = async { connect(&proxy, host, 258).await.map(drop) };
        let (found, told) = tokio::join!(connect, play);
        let found = found.map_err(|text| {
            let places = [format!("{address}->{host}:258: "), format!("{address}: ")];
            let text = text.strip_prefix("socks connect tcp ").unwrap();
            let detail = places.iter().find_map(|place| text.strip_prefix(place.as_str()));
            detail.unwrap().to_owned()
        });
        assert_eq!(found, expected.map_err(str::to_owned), "{said:?}");
        assert_eq!(told, sent, "{said:?}");
    }

    #[tokio::test]
    async fn a_proxy_is_told_who_asks_and_where_to() {
        let done = [5, 0, 5, 0, 0, 1, 127, 0, 0, 1, 1, 2];
        let sent = [5, 1, 0, 5, 1, 0, 3, 4, b'h', b'o', b's', b't', 1, 2];
        check(("", ""), "host", &done, &sent, Ok(())).await;
        let sent = [5, 1, 0, 5, 1, 0, 1, 10, 0, 0, 1, 1, 2];
        check(("", ""), "10.0.0.1", &done, &sent, Ok(())).await;
        let asked = [5, 2, 1, 0, 5, 0, 0, 3, 1, b'x', 1, 2];
        let mut sent = vec![5, 2, 0, 2, 1, 2, b'm', b'e', 2, b'p', b'w', 5, 1, 0, 4];
        sent.extend([0; 15]);
        sent.extend([1, 1, 2]);
        check(("me", "pw"), "::1", &asked, &sent, Ok(())).await;
    }

    #[tokio::test]
    async fn what_a_proxy_refuses_is_said() {
        let hello = [5, 1, 0];
        let login = [5, 2, 0, 2];
        let text = "no acceptable authentication methods";
        check(("", ""), "h", &[5, 255], &hello, Err(text)).await;
        check(("", ""), "h", &[5, 2], &hello, Err(text)).await;
        check(("me", "pw"), "h", &[5, 255], &login, Err(text)).await;
        let text = "it is no SOCKS5 proxy: unexpected protocol version 72";
        check(("", ""), "h", b"HTTP/1.1 400\r\n", &hello, Err(text)).await;
        let text = "username/password authentication failed";
        let sent = [5, 2, 0, 2, 1, 2, b'm', b'e', 2, b'p', b'w'];
        check(("me", "pw"), "h", &[5, 2, 1, 1], &sent, Err(text)).await;
        let sent = [5, 1, 0, 5, 1, 0, 3, 1, b'h', 1, 2];
        let refused = [5, 0, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0];
        check(("", ""), "h", &refused, &sent, Err("connection refused")).await;
        let text = "unknown address type 9";
        check(("", ""), "h", &[5, 0, 5, 0, 0, 9], &sent, Err(text)).await;
        check(("", ""), "h", &[], &hello, Err("early eof")).await;
    }
}
