import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="session", autouse=True)
def one_thread_for_the_blas():
    """Limit BLAS to one thread. Its threads wait actively, which makes the small problems here ten times slower."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield
