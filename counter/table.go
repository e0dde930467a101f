package counter

import "headgate.example/counter/machine"

// anyNumber of arguments, as far as a request may have.
const anyNumber = -1

// commandTable makes the command table of the shard with this number, by name.
func commandTable(shard int) map[string]*command {
	table := make(map[string]*command)
	for _, rows := range [][]command{buyerCommands(shard), operatorCommands(), shardCommands(), basicCommands()} {
		for i := range rows {
			table[rows[i].name] = &rows[i]
		}
	}
	return table
}

func buyerCommands(shard int) []command {
	return []command{
		{name: "RESERVE", usage: "RESERVE sale user quantity key", needs: client, args: 5, most: 5, reply: writeReservation},
		{name: "CONFIRM", usage: "CONFIRM order [order ...]", needs: client, args: 2, most: anyNumber, change: confirm, reply: writeCodes(shard)},
		{name: "ORDER", usage: "ORDER order", needs: client, args: 2, most: 2, answer: answerOrder},
		{name: "SALE.INFO", usage: "SALE.INFO sale", needs: client, args: 2, most: 2, answer: answerInfo},
		{name: "SALE.LIST", usage: "SALE.LIST", needs: client, args: 1, most: 1, answer: answerList},
		{name: "RULES", usage: "RULES since", needs: client, args: 2, most: 2, answer: answerRules},
		{name: "ABORT", usage: "ABORT order reason", needs: client, args: 3, most: 3, change: giveBack(machine.Abort, shard), reply: writeCode},
		{name: "RELEASE", usage: "RELEASE order reason", needs: client, args: 3, most: 3, change: giveBack(machine.Release, shard), reply: writeCode},
		{name: "USER", usage: "USER sale user", needs: client, args: 3, most: 3, answer: answerUser},
	}
}

func operatorCommands() []command {
	return []command{
		{name: "SALE.OPEN", usage: "SALE.OPEN json", needs: operator, args: 2, most: 2, change: saleOpen, reply: writeOK},
		{name: "SALE.PAUSE", usage: "SALE.PAUSE sale revision", needs: operator, args: 3, most: 3, change: saleChange(machine.PauseSale), reply: writeOK},
		{name: "SALE.RESUME", usage: "SALE.RESUME sale revision", needs: operator, args: 3, most: 3, change: saleChange(machine.ResumeSale), before: settleDebts, reply: writeOK},
		{name: "SALE.CLOSE", usage: "SALE.CLOSE sale revision", needs: operator, args: 3, most: 3, change: saleChange(machine.CloseSale), reply: writeOK},
		{name: "SALE.FORGET", usage: "SALE.FORGET sale revision", needs: operator, args: 3, most: 3, change: saleChange(machine.ForgetSale), reply: writeOK},
		{name: "SALE.STOCK", usage: "SALE.STOCK sale revision total", needs: operator, args: 4, most: 4, change: saleStock, reply: writeOK},
		{name: "SALE.RESTORE", usage: "SALE.RESTORE json", needs: operator, args: 2, most: 2, change: saleRestore, reply: writeOK},
		{name: "BAN", usage: "BAN user|address value until reason", needs: operator, args: 5, most: 5, change: ban, reply: writeOK},
		{name: "UNBAN", usage: "UNBAN user|address|token value", needs: operator, args: 3, most: 3, change: unban, reply: writeOK},
		{name: "REVOKE", usage: "REVOKE user before", needs: operator, args: 3, most: 3, change: revoke, reply: writeOK},
		{name: "AUDIT", usage: "AUDIT sale", needs: operator, args: 2, most: 2, answer: answerAudit},
		{name: "VOTERS", usage: "VOTERS", needs: operator, args: 1, most: 1, answer: answerVoters},
		{name: "VOTER.ADD", usage: "VOTER.ADD id raft client", needs: operator, args: 4, most: 4, answer: answerVoterAdd},
		{name: "VOTER.REMOVE", usage: "VOTER.REMOVE id", needs: operator, args: 2, most: 2, answer: answerVoterRemove},
		{name: "BACKUP.OPEN", usage: "BACKUP.OPEN", needs: operator, args: 1, most: 1, answer: answerBackupOpen},
		{name: "BACKUP.READ", usage: "BACKUP.READ backup offset", needs: operator, args: 3, most: 3, answer: answerBackupRead},
		{name: "BACKUP.CLOSE", usage: "BACKUP.CLOSE backup", needs: operator, args: 2, most: 2, answer: answerBackupClose},
		{name: "HOLDS", usage: "HOLDS sale held|confirmed|released|expired after limit", needs: operator, args: 5, most: 5, answer: answerHolds},
	}
}

// shardCommands are what the shards of a sale tell each other.
func shardCommands() []command {
	return []command{
		{name: "SHARD.ASK", usage: "SHARD.ASK sale taker taken want sell|debt", needs: operator, args: 6, most: 6, change: shardAsk, reply: writeMoved},
		{name: "SHARD.GIVE", usage: "SHARD.GIVE sale giver given", needs: operator, args: 4, most: 4, change: shardGive, reply: writeMoved},
		{name: "SHARD.COLLECT", usage: "SHARD.COLLECT sale", needs: operator, args: 2, most: 2, answer: answerCollect},
	}
}

// basicCommands are those that every client of the protocol expects.
func basicCommands() []command {
	return []command{
		{name: "PING", usage: "PING [text]", needs: client, args: 1, most: 2, answer: answerPing, early: true, prompt: true},
		{name: "ECHO", usage: "ECHO text", needs: client, args: 2, most: 2, answer: answerEcho, early: true, prompt: true},
		{name: "INFO", usage: "INFO [section ...]", needs: client, args: 1, most: anyNumber, answer: answerServerInfo, early: true},
		{name: "COMMAND", usage: "COMMAND [COUNT|DOCS|INFO ...]", needs: client, args: 1, most: anyNumber, answer: answerCommand, early: true, prompt: true},
		{name: "SELECT", usage: "SELECT 0", needs: client, args: 2, most: 2, answer: answerSelect, early: true, prompt: true},
		{name: "CLIENT", usage: "CLIENT subcommand ...", needs: client, args: 2, most: anyNumber, answer: answerClient, early: true, prompt: true},
		{name: "AUTH", usage: "AUTH [user] password", needs: stranger, args: 2, most: 3, answer: answerAuth, early: true, prompt: true},
		{name: "HELLO", usage: "HELLO [2 [AUTH user password] [SETNAME name]]", needs: stranger, args: 1, most: 8, answer: answerHello, early: true, prompt: true},
		{name: "RESET", usage: "RESET", needs: stranger, args: 1, most: 1, answer: answerReset, early: true, prompt: true},
		{name: "QUIT", usage: "QUIT", needs: stranger, args: 1, most: 1, answer: answerQuit, early: true, prompt: true},
	}
}
