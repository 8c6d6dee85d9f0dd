"""The blocking Accounts."""

from chatcore import accounts as core
from chatcore import devices
from chatcore.blocking.counterpart import Counterpart, method


class Devices(Counterpart[devices.Devices]):
    """The device sessions of Accounts, as `chatcore.Devices` has them."""

    sign_in = method(devices.Devices.sign_in)
    renew = method(devices.Devices.renew)
    sessions = method(devices.Devices.sessions)
    end = method(devices.Devices.end)
    authenticate = method(devices.Devices.authenticate)


class Accounts(Counterpart[core.Accounts]):
    """Registers users, logs them in and checks their tokens, as `chatcore.Accounts` does: the same
    methods, arguments and errors. Made by `Bridge.accounts`."""

    register = method(core.Accounts.register)
    log_in = method(core.Accounts.log_in)
    authenticate = method(core.Accounts.authenticate)
    change_password = method(core.Accounts.change_password)
    reset_password = method(core.Accounts.reset_password)
    log_out_everywhere = method(core.Accounts.log_out_everywhere)
    erase = method(core.Accounts.erase)
    check_password = method(core.Accounts.check_password)

    @property
    def devices(self) -> Devices:
        """The device sessions."""
        return Devices(self._bridge, self._core.devices)
