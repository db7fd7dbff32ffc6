import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="session", autouse=True)
def one_thread_for_the_blas():
    """Limit BLAS to one thread. Its threads wait actively, which makes the small problems here ten times slower."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield


@pytest.fixture(scope="session")
def cluster():
    """A cluster of two processes on this machine."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit="2GB"
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    """The current client of the cluster."""
    from distributed import Client

    with Client(cluster) as client:
        yield client
