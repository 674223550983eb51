//! What an application's hook answers, down to the bytes of HTTP: positions that make sense, or an error.

use std::{sync::Arc, time::Duration};

use cutline_state::{Hook, HookLimits};
use fuzz::{INPUT_BYTES_MAX, Target};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::Mutex,
};

/// What a connection and its client take.
const CLIENT_BYTES: usize = 4 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_millis(500);

#[test]
fn answers_of_a_hook_are_understood_or_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let answer = Arc::new(Mutex::new(Vec::new()));
    let address = runtime.block_on(serve(Arc::clone(&answer)));
    let limits = HookLimits {
        connect: PATIENCE,
        pause: PATIENCE,
        snapshot: PATIENCE,
        resume: PATIENCE,
        restore: PATIENCE,
        answer_bytes_max: INPUT_BYTES_MAX as u64,
        snapshot_bytes_max: INPUT_BYTES_MAX as u64,
    };
    let hook = Hook::new(&address, limits).unwrap();
    Target::new("hook").taking(CLIENT_BYTES).hold(|input| {
        runtime.block_on(async {
            *answer.lock().await = input.to_vec();
            if let Ok(positions) = hook.pause().await {
                let sensible = positions
                    .iter()
                    .all(|at| at.offset.0 >= 0 && at.partition.partition >= 0);
                assert!(sensible, "{positions:?}");
            }
            let _answer = hook.resume().await;
            let Ok(mut stream) = hook.snapshot().await else {
                return;
            };
            let mut bytes = 0;
            while let Ok(Some(chunk)) = stream.chunk().await {
                bytes += chunk.len();
            }
            assert!(bytes <= INPUT_BYTES_MAX, "a snapshot has its limit");
        });
    });
}

/// Answers every request with the same bytes and closes.
async fn serve(answer: Arc<Mutex<Vec<u8>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let answer = answer.lock().await.clone();
            let mut request = [0; 4096];
            let mut read = 0;
            while !request[..read].ends_with(b"\r\n\r\n") {
                match connection.read(&mut request[read..]).await {
                    Ok(0) | Err(_) => break,
                    Ok(more) => read += more,
                }
            }
            // A client that has seen enough hangs up.
            let _written = connection.write_all(&answer).await;
            let _closed = connection.shutdown().await;
        }
    });
    format!("http://{address}")
}
