// What the page says, in English and Russian, and how it writes times.

const EN = {
  name: "Name",
  password: "Password",
  signIn: "Sign in",
  createAccount: "Create account",
  newHere: "New here?",
  haveAccount: "Have an account?",
  tagline: "One to one, nothing missed.",
  nameRule: "1 to 64 characters. Others find you by it.",
  passwordRule: "At least 8 characters.",
  wrongPassword: "The name or the password is wrong.",
  nameRefused: "This name is taken, or the name or the password cannot be used. Try others.",
  shortPassword: "The password needs at least 8 characters.",
  busy: "The service is busy. Try again in a moment.",
  tooMany: {
    one: "Too many attempts. Try again in {n} second.",
    other: "Too many attempts. Try again in {n} seconds.",
  },
  unreachable: "The service does not answer. Try again in a moment.",
  showPassword: "Show password",
  expired: "Still there?",
  expiredText: "Your session has ended. Your drafts and unsent messages are kept.",
  passwordOf: "Password of {name}",
  goOn: "Continue",
  signOut: "Sign out",
  signOutUnsent: {
    one: "{n} message has not been sent yet and will be deleted. Sign out?",
    other: "{n} messages have not been sent yet and will be deleted. Sign out?",
  },
  chats: "Chats",
  startChat: "Start a chat",
  personName: "Name of a person",
  nobody: "Nobody here has this name.",
  yourself: "That is you.",
  noChats: "No chats yet",
  noChatsText: "Enter a person’s name above, and say hello.",
  chooseChat: "Choose a chat, or start a new one",
  noMessages: "No messages yet. Say hello.",
  you: "You",
  back: "Back to the chats",
  messagesWith: "Messages with {name}",
  message: "Message",
  messageTo: "Message to {name}",
  send: "Send",
  tooLong: {
    one: "{n} character too many",
    other: "{n} characters too many",
  },
  pending: "Waiting to be sent",
  failed: "Not sent",
  undelivered: "Could not be delivered",
  sent: "Sent",
  read: "Read",
  retry: "Try again",
  remove: "Delete",
  loading: "Loading…",
  loadFailed: "Could not be loaded.",
  newMessages: "New messages",
  toNewest: "To the newest messages",
  unread: { one: "{n} unread message", other: "{n} unread messages" },
  noSuchChat: "There is no such chat.",
  connecting: "Connecting…",
  "catching-up": "Catching up…",
  online: "Online",
  offline: "Offline. Trying again…",
  tryNow: "Try now",
  block: "Block",
  blockAsk: "Block {name}? You will hear nothing more from each other.",
  blocked: "You blocked {name}.",
  unblock: "Unblock",
  cancel: "Cancel",
  close: "Close",
  account: "Account",
  changePassword: "Change password",
  currentPassword: "Current password",
  newPassword: "New password",
  passwordChanged: "The password is changed. Other devices have to sign in again.",
  wrongCurrent: "This is not your password.",
  refusedPassword: "This password cannot be used. Try another one.",
  download: "Download my data",
  downloadFailed: "Not all of it came. Try again.",
  signOutEverywhere: "Sign out everywhere",
  deleteAccount: "Delete account",
  deleteText: "Your account is gone for good, and nobody gets its name again. Those you wrote to keep your messages.",
  deleteForGood: "Delete for good",
};

const RU = {
  name: "Имя",
  password: "Пароль",
  signIn: "Войти",
  createAccount: "Создать аккаунт",
  newHere: "Впервые здесь?",
  haveAccount: "Уже есть аккаунт?",
  tagline: "Один на один, и ничего не теряется.",
  nameRule: "От 1 до 64 символов. По нему вас найдут.",
  passwordRule: "Не меньше 8 символов.",
  wrongPassword: "Неверное имя или пароль.",
  nameRefused: "Имя занято, либо имя или пароль не подходят. Попробуйте другие.",
  shortPassword: "В пароле должно быть не меньше 8 символов.",
  busy: "Сервис занят. Попробуйте чуть позже.",
  tooMany: {
    one: "Слишком много попыток. Попробуйте через {n} секунду.",
    few: "Слишком много попыток. Попробуйте через {n} секунды.",
    many: "Слишком много попыток. Попробуйте через {n} секунд.",
    other: "Слишком много попыток. Попробуйте через {n} секунды.",
  },
  unreachable: "Сервис не отвечает. Попробуйте чуть позже.",
  showPassword: "Показать пароль",
  expired: "Вы ещё здесь?",
  expiredText: "Сеанс закончился. Черновики и неотправленные сообщения сохранены.",
  passwordOf: "Пароль пользователя {name}",
  goOn: "Продолжить",
  signOut: "Выйти",
  signOutUnsent: {
    one: "{n} сообщение ещё не отправлено и будет удалено. Выйти?",
    few: "{n} сообщения ещё не отправлены и будут удалены. Выйти?",
    many: "{n} сообщений ещё не отправлены и будут удалены. Выйти?",
    other: "{n} сообщения ещё не отправлены и будут удалены. Выйти?",
  },
  chats: "Чаты",
  startChat: "Начать чат",
  personName: "Имя собеседника",
  nobody: "Здесь нет никого с таким именем.",
  yourself: "Это вы сами.",
  noChats: "Чатов пока нет",
  noChatsText: "Введите имя собеседника выше и поздоровайтесь.",
  chooseChat: "Выберите чат или начните новый",
  noMessages: "Сообщений пока нет. Поздоровайтесь.",
  you: "Вы",
  back: "Назад к чатам",
  messagesWith: "Сообщения: вы и {name}",
  message: "Сообщение",
  messageTo: "Сообщение для {name}",
  send: "Отправить",
  tooLong: {
    one: "{n} лишний символ",
    few: "{n} лишних символа",
    many: "{n} лишних символов",
    other: "{n} лишних символа",
  },
  pending: "Ждёт отправки",
  failed: "Не отправлено",
  undelivered: "Не удалось доставить",
  sent: "Отправлено",
  read: "Прочитано",
  retry: "Повторить",
  remove: "Удалить",
  loading: "Загрузка…",
  loadFailed: "Не удалось загрузить.",
  newMessages: "Новые сообщения",
  toNewest: "К новым сообщениям",
  unread: {
    one: "{n} непрочитанное сообщение",
    few: "{n} непрочитанных сообщения",
    many: "{n} непрочитанных сообщений",
    other: "{n} непрочитанных сообщения",
  },
  noSuchChat: "Такого чата нет.",
  connecting: "Подключение…",
  "catching-up": "Получаем пропущенное…",
  online: "В сети",
  offline: "Нет связи. Пробуем снова…",
  tryNow: "Попробовать",
  block: "Заблокировать",
  blockAsk: "Заблокировать {name}? Вы больше ничего не получите друг от друга.",
  blocked: "Вы заблокировали {name}.",
  unblock: "Разблокировать",
  cancel: "Отмена",
  close: "Закрыть",
  account: "Аккаунт",
  changePassword: "Сменить пароль",
  currentPassword: "Нынешний пароль",
  newPassword: "Новый пароль",
  passwordChanged: "Пароль изменён. На других устройствах нужно войти снова.",
  wrongCurrent: "Это не ваш пароль.",
  refusedPassword: "Этот пароль не подходит. Попробуйте другой.",
  download: "Скачать мои данные",
  downloadFailed: "Пришло не всё. Попробуйте ещё раз.",
  signOutEverywhere: "Выйти на всех устройствах",
  deleteAccount: "Удалить аккаунт",
  deleteText: "Аккаунт исчезнет навсегда, и его имя никому не достанется. Ваши сообщения останутся у тех, кому вы писали.",
  deleteForGood: "Удалить навсегда",
};

const wanted = navigator.languages.find((each) => /^(en|ru)\b/i.test(each)) ?? "en";

export const language = /^ru/i.test(wanted) ? "ru" : "en";

const words = language === "ru" ? RU : EN;
const plural = new Intl.PluralRules(language);
const number = new Intl.NumberFormat(wanted);
const clock = new Intl.DateTimeFormat(navigator.language, { hour: "numeric", minute: "2-digit" });
const dayOfYear = new Intl.DateTimeFormat(wanted, { day: "numeric", month: "long" });
const dayOfAnyYear = new Intl.DateTimeFormat(wanted, { dateStyle: "long" });
const shortDay = new Intl.DateTimeFormat(wanted, { day: "numeric", month: "short" });
const shortDate = new Intl.DateTimeFormat(wanted, { dateStyle: "short" });
const full = new Intl.DateTimeFormat(wanted, { dateStyle: "full", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(wanted, { numeric: "auto" });

/** The words of that name; `{name}` in them is replaced by `values.name`. */
export function say(name, values = {}) {
  return words[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
}

/** The words of that name in the form that goes with the number. */
export function count(name, n) {
  return (words[name][plural.select(n)] ?? words[name].other).replace("{n}", number.format(n));
}

export const timeOf = (date) => clock.format(date);

export const momentOf = (date) => full.format(date);

/** "Today", "Yesterday", "4 March", "4 March 2025". */
export function dayOf(date) {
  const days = daysAgo(date);
  if (days === 0 || days === 1) return capital(relative.format(-days, "day"));
  return sameYear(date) ? dayOfYear.format(date) : dayOfAnyYear.format(date);
}

/** As little as tells when: a time, or a day. */
export function brief(date) {
  const days = daysAgo(date);
  if (days <= 0) return timeOf(date);
  if (days === 1) return capital(relative.format(-1, "day"));
  return sameYear(date) ? shortDay.format(date) : shortDate.format(date);
}

function daysAgo(date) {
  const midnight = (day) => Date.UTC(day.getFullYear(), day.getMonth(), day.getDate());
  return (midnight(new Date()) - midnight(date)) / 86_400_000;
}

const sameYear = (date) => date.getFullYear() === new Date().getFullYear();

const capital = (text) => text[0].toLocaleUpperCase(language) + text.slice(1);
