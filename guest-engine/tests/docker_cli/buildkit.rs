//! BuildKit's API for clients that speak HTTP/2 right away, as newer ones do; the others come through the
//! real client in `tests/native`.

use crate::support::Fixture;
use bollard_buildkit_proto::moby::buildkit::v1::{
    ListWorkersRequest, StatusRequest, control_client::ControlClient,
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;

#[tokio::test]
async fn it_is_served_without_an_upgrade() {
    let engine = Fixture::start().await;
    let path = engine.path("docker.sock");
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://docker").connect_with_connector(connector).await.unwrap();
    let mut control = ControlClient::new(channel);
    let workers = control.list_workers(ListWorkersRequest::default()).await.unwrap().into_inner().record;
    assert_eq!(workers[0].platforms[0].os, "linux");
    let error = control.status(StatusRequest { r#ref: "nope".into() }).await.unwrap_err();
    assert_eq!(error.message(), "no such job nope");
}
